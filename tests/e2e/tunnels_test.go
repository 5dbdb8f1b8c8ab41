package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/tests/testenv"
)

// tunnelKind is a kind of tunnel that the filter looks into.
type tunnelKind struct {
	name string // in the configuration
	link func(a netlink.LinkAttrs, local, remote net.IP) netlink.Link
	wrap func(outer frame.Packet, in []byte) []byte // puts a datagram into a packet from the other end
}

var tunnelKinds = []tunnelKind{
	{"vxlan:4789", func(a netlink.LinkAttrs, local, remote net.IP) netlink.Link {
		return &netlink.Vxlan{LinkAttrs: a, VxlanId: 5, Port: 4789, SrcAddr: local, Group: remote}
	}, func(p frame.Packet, in []byte) []byte { return p.UDP(50000, 4789, frame.InVXLAN(5, in)) }},
	{"geneve:6081", func(a netlink.LinkAttrs, local, remote net.IP) netlink.Link {
		return &netlink.Geneve{LinkAttrs: a, ID: 5, Dport: 6081, Remote: remote}
	}, func(p frame.Packet, in []byte) []byte { return p.UDP(50000, 6081, frame.InGeneve(5, 0, in)) }},
	{"gre", func(a netlink.LinkAttrs, local, remote net.IP) netlink.Link {
		return &netlink.Gretun{LinkAttrs: a, Local: local, Remote: remote}
	}, func(p frame.Packet, in []byte) []byte { return p.Raw(frame.GRE, frame.InGRE(0, in)) }},
	{"ipip", func(a netlink.LinkAttrs, local, remote net.IP) netlink.Link {
		return &netlink.Iptun{LinkAttrs: a, Local: local, Remote: remote}
	}, func(p frame.Packet, in []byte) []byte { return p.Raw(frame.IPinIP, in[frame.EthernetSize:]) }},
	{"sit", func(a netlink.LinkAttrs, local, remote net.IP) netlink.Link {
		return &netlink.Sittun{LinkAttrs: a, Local: local, Remote: remote, Proto: unix.IPPROTO_IPV6}
	}, func(p frame.Packet, in []byte) []byte { return p.Raw(frame.IPv6inIP, in[frame.EthernetSize:]) }},
}

// Blocked sources inside tunnels get through until the daemon starts with the tunnels in its
// configuration. Status, why and doctor name the tunnels until then. The guard knows their other ends.
func TestTunnelsThatEndHere(t *testing.T) {
	h, rewrite := configured(t, "interfaces: [up0]\n")
	h.ctl(0, "block", "2001:db8:b::7")
	var tunnels []*hostTunnel
	var names []string
	for i, k := range tunnelKinds {
		// The other ends are neither addresses nor gateways of the host.
		tunnels = append(tunnels, h.addTunnel(k, fmt.Sprint("tun", i), ipv4(192, 0, 2, byte(10+i))))
		names = append(names, k.name)
	}
	server := h.serve()
	for _, tunnel := range tunnels {
		if got := tunnel.send(server); tunnel.device != "" && got != [2]int{50, 50} {
			t.Errorf("%s: without the option %v of 50 blocked and 50 other datagrams arrived", tunnel.name, got)
		}
	}
	if got := h.reason(interfaceName, "blocked"); got != 0 {
		t.Errorf("without the option %d packets are counted as blocked", got)
	}
	h.namesTunnels(true, tunnels...)
	h.protects(tunnels...)
	rewrite("interfaces: [up0]\ntunnels: [" + strings.Join(names, ", ") + "]\n")
	if !strings.Contains(h.run.Log(), "need a restart") {
		t.Error("the reload does not say that tunnels need a restart")
	}
	h.kill()
	h.start()
	for i, tunnel := range tunnels {
		if got := tunnel.send(server); tunnel.device != "" && got != [2]int{0, 50} {
			t.Errorf("%s: with the option %v of 50 blocked and 50 other datagrams arrived", tunnel.name, got)
		}
		if got := h.reason(interfaceName, "blocked"); got != 50*uint64(i+1) {
			t.Errorf("%s: with the option %d packets are counted as blocked, want %d", tunnel.name, got, 50*(i+1))
		}
	}
	h.namesTunnels(false, tunnels...)
	if got := ctlJSON[control.Status](h, "status").Tunnels; !slices.Equal(got, names) {
		t.Errorf("status: looks into %v, want %v", got, names)
	}
}

// hostTunnel is a tunnel that ends on the host. Without its device in the kernel there is only the
// filter to test.
type hostTunnel struct {
	*host
	tunnelKind
	iface, device string
	remote        netip.Addr
	mac           frame.MAC // that its Ethernet frames are sent to
}

func (h *host) addTunnel(kind tunnelKind, iface string, remote netip.Addr) *hostTunnel {
	h.Helper()
	t := &hostTunnel{host: h, tunnelKind: kind, iface: iface, remote: remote}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = iface
	link := kind.link(attrs, h.wire.Addr4().AsSlice(), remote.AsSlice())
	if err := netlink.LinkAdd(link); errors.Is(err, unix.EOPNOTSUPP) {
		testenv.NoDevice(h.T, link.Type())
		return t
	} else if err != nil {
		h.Fatalf("add a tunnel of %s: %v", link.Type(), err)
	}
	h.Cleanup(func() { check(h.T, netlink.LinkDel(link)) })
	check(h.T, netlink.LinkSetUp(link))
	found := nicByName(h.T, iface)
	copy(t.mac[:], found.Attrs().HardwareAddr)
	t.device = found.Type()
	return t
}

// send sends datagrams of a blocked source and of another through the tunnel, and returns how many of
// each arrived if the kernel has the device.
func (t *hostTunnel) send(s *lab.Server) (arrived [2]int) {
	t.Helper()
	sources := [2]netip.Addr{netip.MustParseAddr(blockedSource), netip.MustParseAddr("203.0.113.99")}
	if t.name == "sit" {
		sources = [2]netip.Addr{netip.MustParseAddr("2001:db8:b::7"), netip.MustParseAddr("2001:db8:f::7")}
	}
	outer := t.wire.From(t.remote)
	before := s.Sources()
	for range 50 {
		for _, src := range sources {
			in := t.wire.From(src).Ethernet(t.mac, frame.MAC{2, 0, 0, 0, 0, 9})
			check(t.T, t.wire.Send(t.wrap(outer, in.UDP(clientPort, serverPort, []byte("in")))))
		}
	}
	t.settle(s)
	if t.device == "" {
		return arrived
	}
	// The kernel takes packets out of a tunnel later, and in order. So the others are waited for.
	t.within("the datagrams of a source that is not blocked arrive", patience,
		func() bool { return s.Sources()[sources[1]]-before[sources[1]] == 50 })
	for i, src := range sources {
		arrived[i] = s.Sources()[src] - before[src]
	}
	return arrived
}

// protects checks that the guard refuses blocks of the other ends of tunnels that have a device.
func (h *host) protects(tunnels ...*hostTunnel) {
	h.Helper()
	args := []string{"block", "192.0.2.1"} // always refused
	for _, t := range tunnels {
		args = append(args, t.remote.String())
	}
	out := h.ctl(1, args...).Stderr
	for _, t := range tunnels {
		cause := "covers " + t.remote.String() + ", the other end of the tunnel " + t.iface + " (" + t.device + ")"
		if t.device != "" && !strings.Contains(out, cause) {
			h.Errorf("the guard does not say %q:\n%s", cause, out)
		}
	}
}

// namesTunnels checks whether status, why and doctor name the tunnels as those that are not looked into.
// A tunnel without a device is never named.
func (h *host) namesTunnels(want bool, tunnels ...*hostTunnel) {
	h.Helper()
	for _, args := range [][]string{{"status"}, {"why", blockedSource}, {"doctor"}} {
		r, err := h.daemon.Run(h.Context(), args...) // the doctor may find other faults
		check(h.T, err)
		for _, t := range tunnels {
			want := want && t.device != ""
			if got := strings.Contains(r.Stdout, t.iface+" ("+t.device+")"); got != want {
				h.Errorf("paraxialctl %s names the tunnel %s: %t, want %t\n%s", args, t.iface, got, want, r.Stdout)
			}
		}
	}
}
