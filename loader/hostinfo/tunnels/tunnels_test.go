package tunnels

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/loader/internal/isolated"
	"github.com/paraxial/paraxial/tests/testenv"
)

func TestMain(m *testing.M) { isolated.Main(m) }

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func show(all []Endpoint) string {
	var words []string
	for _, e := range all {
		words = append(words, fmt.Sprintf("%s %s %s", e.Addr, e.Kind, e.Interface))
	}
	return strings.Join(words, ", ")
}

// The interfaces are not made, because few kernels have all of these kinds.
func TestRemote(t *testing.T) {
	attrs := netlink.LinkAttrs{Name: "t0"}
	v4, v6 := net.ParseIP("192.0.2.7"), net.ParseIP("2001:db8::7")
	for _, tt := range []struct {
		link netlink.Link
		want string
	}{
		{&netlink.Gretun{LinkAttrs: attrs, Local: net.IPv4(192, 0, 2, 1), Remote: v4}, "192.0.2.7 gre t0"},
		{&netlink.Gretun{LinkAttrs: attrs, Local: net.ParseIP("2001:db8::1"), Remote: v6}, "2001:db8::7 ip6gre t0"},
		{&netlink.Gretap{LinkAttrs: attrs, Local: net.IPv4(192, 0, 2, 1), Remote: v4}, "192.0.2.7 gretap t0"},
		{&netlink.Iptun{LinkAttrs: attrs, Remote: v4}, "192.0.2.7 ipip t0"},
		{&netlink.Sittun{LinkAttrs: attrs, Remote: v4}, "192.0.2.7 sit t0"},
		{&netlink.Ip6tnl{LinkAttrs: attrs, Remote: v6}, "2001:db8::7 ip6tnl t0"},
		{&netlink.Vti{LinkAttrs: attrs, Local: net.IPv4(192, 0, 2, 1), Remote: v4}, "192.0.2.7 vti t0"},
		{&netlink.Geneve{LinkAttrs: attrs, Remote: v6}, "2001:db8::7 geneve t0"},
		{&netlink.Sittun{LinkAttrs: attrs, Remote: net.IPv4zero}, ""}, // sit0, to any
		{&netlink.Geneve{LinkAttrs: attrs}, ""},                       // external
		{&netlink.Geneve{LinkAttrs: attrs, Remote: net.IPv4(239, 1, 1, 1)}, ""},
		{&netlink.Dummy{LinkAttrs: attrs}, ""},
	} {
		got, err := Read([]netlink.Link{tt.link})
		if check(t, err); show(got) != tt.want {
			t.Errorf("%s: %q, want %q", tt.link.Type(), show(got), tt.want)
		}
	}
}

func vxlan(t *testing.T, v *netlink.Vxlan) netlink.Link {
	t.Helper()
	testenv.Root(t)
	check(t, netlink.LinkAdd(v))
	t.Cleanup(func() { check(t, netlink.LinkDel(v)) })
	l, err := netlink.LinkByName(v.Name)
	check(t, err)
	return l
}

// The peers of a VXLAN are its remote and those of its forwarding table.
func TestVXLAN(t *testing.T) {
	one := vxlan(t, &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vx1"}, VxlanId: 1, Port: 4789,
		Group: net.ParseIP("192.0.2.7")})
	many := vxlan(t, &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vx2"}, VxlanId: 2, Port: 4789})
	six := vxlan(t, &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vx3"}, VxlanId: 3, Port: 4790,
		Group: net.ParseIP("2001:db8::7")})
	for i, ip := range []string{"198.51.100.1", "198.51.100.2", "198.51.100.2"} {
		check(t, netlink.NeighAppend(&netlink.Neigh{
			LinkIndex: many.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF,
			State: netlink.NUD_PERMANENT,
			IP:    net.ParseIP(ip), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(i)},
		}))
	}
	got, err := Read([]netlink.Link{one, many, six})
	const want = "192.0.2.7 vxlan vx1, 198.51.100.1 vxlan vx2, 198.51.100.2 vxlan vx2, 2001:db8::7 vxlan vx3"
	if check(t, err); show(got) != want {
		t.Errorf("endpoints %s, want %s", show(got), want)
	}
}

// A VXLAN with more peers than are returned is an error.
func TestMostPeers(t *testing.T) {
	l := vxlan(t, &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vx4"}, VxlanId: 4, Port: 4789})
	for i := range mostPeers + 1 {
		check(t, netlink.NeighAppend(&netlink.Neigh{
			LinkIndex: l.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF, State: netlink.NUD_PERMANENT,
			IP: net.IPv4(10, 1, byte(i>>8), byte(i)), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, byte(i >> 8), byte(i)},
		}))
	}
	got, err := Read([]netlink.Link{l})
	if err == nil || !strings.Contains(err.Error(), "more than 4096") || len(got) != mostPeers {
		t.Errorf("%d endpoints, error %v", len(got), err)
	}
}

// Kernels without WireGuard cannot make such an interface. So the answer is made here, in the form
// of linux/wireguard.h.
func TestWireGuard(t *testing.T) {
	v4 := make([]byte, unix.SizeofSockaddrInet4)
	binary.NativeEndian.PutUint16(v4, unix.AF_INET)
	copy(v4[2:], []byte{0xca, 0x6c, 192, 0, 2, 7})
	v6 := make([]byte, unix.SizeofSockaddrInet6)
	binary.NativeEndian.PutUint16(v6, unix.AF_INET6)
	copy(v6[8:], net.ParseIP("2001:db8::7"))
	message := answer(v4, v6, nil)
	got, err := parseWireGuard(message)
	check(t, err)
	if want := "[192.0.2.7 2001:db8::7]"; fmt.Sprint(got) != want {
		t.Errorf("endpoints %v, want %s", got, want)
	}
	for n := range message {
		parseWireGuard(message[:n]) // must not panic
	}
	if got, err := parseWireGuard(answer([]byte{99, 0, 1})); err == nil {
		t.Errorf("a malformed endpoint gives %v", got)
	}
}

// answer returns the answer for an interface with a key and these peers. A peer without an
// endpoint has not been heard of yet.
func answer(endpoints ...[]byte) []byte {
	const nested, deviceName, devicePrivateKey, peerKey = unix.NLA_F_NESTED, 2, 3, 1
	peers := nl.NewRtAttr(devicePeers|nested, nil)
	for _, e := range endpoints {
		peer := peers.AddRtAttr(nested, nil)
		peer.AddRtAttr(peerKey, make([]byte, 32))
		if e != nil {
			peer.AddRtAttr(peerEndpoint, e)
		}
	}
	message := []byte{wireGuardGetDevice, wireGuardVersion, 0, 0}
	message = append(message, nl.NewRtAttr(deviceName, nl.ZeroTerminated("wg0")).Serialize()...)
	message = append(message, nl.NewRtAttr(devicePrivateKey, make([]byte, 32)).Serialize()...)
	return append(message, peers.Serialize()...)
}

// The exchange of messages is tried with a family that every kernel has: the list of families.
func TestAsk(t *testing.T) {
	req := nl.NewNetlinkRequest(unix.GENL_ID_CTRL, unix.NLM_F_DUMP)
	req.AddData(&nl.Genlmsg{Command: unix.CTRL_CMD_GETFAMILY, Version: 1})
	var names []string
	check(t, ask(req.Serialize(), func(message []byte) error {
		return eachAttribute(message[genericHeader:], unix.CTRL_ATTR_FAMILY_NAME, func(value []byte) error {
			names = append(names, nl.BytesToString(value))
			return nil
		})
	}))
	if !strings.Contains(strings.Join(names, " "), "nlctrl") {
		t.Errorf("families %v", names)
	}
	if err := ask(nl.NewNetlinkRequest(0x7f, unix.NLM_F_DUMP).Serialize(), nil); err == nil {
		t.Error("a request to no family succeeded")
	}
}

// An interface that has gone meanwhile is no error, and a WireGuard that the kernel does not know
// is one that names it.
func TestReadErrors(t *testing.T) {
	testenv.Root(t)
	if _, err := netlink.GenlFamilyGet(wireGuardFamily); err == nil {
		t.Log("this kernel has WireGuard")
	}
	got, err := Read([]netlink.Link{
		&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: "wg9", Index: 9999}},
		&netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: "t1"}, Remote: net.ParseIP("192.0.2.7")},
	})
	if err != nil && !strings.Contains(err.Error(), "wireguard wg9") {
		t.Errorf("error %v", err)
	}
	if len(got) != 1 || got[0].Addr != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("endpoints %v: the other interface is missing", got)
	}
}
