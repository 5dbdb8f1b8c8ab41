package e2e

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/tests/testenv"
)

// bypassBlocked is blocked, bypassFree is not. The frames of both are equal otherwise.
var (
	bypassBlocked = [2]string{"198.51.100.0/24", "2001:db8:b::/48"}
	bypassFree    = [2]string{"203.0.113.0/24", "2001:db8:f::/48"}
)

// TestBlockedSourcesReachNoIP sends frames in every disguise, PARAXIAL_CASES from blocked
// sources and as many from others. It counts those that Linux itself takes for IP.
func TestBlockedSourcesReachNoIP(t *testing.T) {
	cases := bypassNumber(t, "PARAXIAL_CASES", 20_000)
	seed := bypassNumber(t, "PARAXIAL_SEED", rand.Uint64())
	t.Logf("PARAXIAL_SEED=%d PARAXIAL_CASES=%d", seed, cases)
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			h := newHost(t, "--xdp-mode", mode)
			h.addVLANs()
			h.start()
			h.countIP()
			for _, prefix := range bypassBlocked {
				h.ctl(0, "block", prefix)
			}
			d := &disguise{rand.New(rand.NewPCG(seed, 0))}
			for range cases {
				pair := d.pair(h)
				if err := h.wire.Send(pair[:]...); err != nil {
					t.Fatal(err)
				}
			}
			h.waitTaken()
			got := h.reachedIP()
			t.Logf("reached IP: %v of %d each", got, cases)
			if got["blocked4"]+got["blocked6"] != 0 {
				t.Errorf("%d frames of blocked sources reached IP, want 0", got["blocked4"]+got["blocked6"])
			}
			// The counter counts, and disguised frames do get through.
			for _, name := range []string{"free4", "free6"} {
				if uint64(got[name]) < cases/20 {
					t.Errorf("%s: %d of %d frames reached IP; the disguises test too little", name, got[name], cases)
				}
			}
		})
	}
}

func bypassNumber(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// disguise makes frames that hide their source.
type disguise struct{ *rand.Rand }

// pair returns a frame of a blocked source and the same frame of another source.
func (d *disguise) pair(h *host) [2][]byte {
	family := d.IntN(2)
	link := d.link()
	build := d.payload(family)
	var pair [2][]byte
	for i, prefix := range []string{bypassBlocked[family], bypassFree[family]} {
		a := netip.MustParsePrefix(prefix).Addr()
		for range 1 + d.IntN(3) {
			a = a.Next()
		}
		b := build(h.wire.From(a))
		// The EtherType of IP is the last part of the link layer.
		pair[i] = slices.Concat(b[:12], link, b[12:])
	}
	return pair
}

// link returns what precedes the EtherType of IP: tags, mostly of VLAN 0, and
// sometimes a header of another protocol among them.
func (d *disguise) link() (link []byte) {
	tags := d.IntN(9)
	if d.IntN(10) == 0 {
		tags = 9 + d.IntN(4)
	}
	types := []uint16{frame.Dot1Q, frame.Dot1Q, frame.Dot1AD, frame.Dot1AD}
	if d.IntN(5) == 0 {
		types = append(types, 0x9100, 0x9200)
	}
	other := -1
	if d.IntN(8) == 0 {
		other = d.IntN(tags + 1)
	}
	zero := d.IntN(4) > 0
	for i := range tags + 1 {
		if i == other {
			link = append(link, d.other()...)
		}
		if i < tags {
			link = binary.BigEndian.AppendUint16(link, types[d.IntN(len(types))])
			link = binary.BigEndian.AppendUint16(link, d.tci(zero))
		}
	}
	return link
}

// tci returns a priority, and VLAN 0 or one of few others.
func (d *disguise) tci(zero bool) uint16 {
	priority := uint16(d.IntN(16)) << 12
	if zero || d.IntN(2) == 0 {
		return priority
	}
	return priority | []uint16{vlanID, vlanID, nestedID, 4095}[d.IntN(4)]
}

// other returns a header of a protocol that carries IP, without the EtherType of IP.
func (d *disguise) other() []byte {
	return [][]byte{
		{0x88, 0x64, 0x11, 0, 0, 1, 0, 60, 0, 0x21}, // PPPoE session, PPP of IPv4
		{0x88, 0x64, 0x11, 0, 0, 1, 0, 60, 0, 0x57}, // PPP of IPv6
		{0x88, 0x64, 0x11, 0, 0, 1, 0, 60, 0x21},    // PPP of IPv4, short protocol number
		{0x88, 0x47, 0, 0, 0x11, 0x40},              // MPLS, bottom of the stack
		{0x88, 0x48, 0, 0, 0x11, 0x40},              // MPLS, multicast
		{0, 60, 0xaa, 0xaa, 3, 0, 0, 0},             // LLC and SNAP of Ethernet
		{0, 60, 6, 6, 3},                            // LLC of IP
		{0x91, 0, 0, 5}, {0x92, 0, 0, 0},            // tags of earlier switches
		{0xff, 0xff}, {0, 60, 0xaa, 0xaa, 3, 0, 0, 0xf8}, // 802.3 without LLC; SNAP of a bridge
	}[d.IntN(11)]
}

// payload returns a function that builds an IP packet.
func (d *disguise) payload(family int) func(frame.Packet) []byte {
	padding := make([]byte, d.IntN(80))
	kind := d.IntN(6)
	return func(p frame.Packet) []byte {
		switch {
		case kind == 0:
			return append(p.Fragment(0, true).UDP(9, serverPort, make([]byte, 64)), padding...)
		case kind == 1:
			return append(p.TCP(9, serverPort, frame.SYN, nil), padding...)
		case kind == 2 && family == 0:
			return append(p.Options(1, 1, 1, 1).UDP(9, serverPort, nil), padding...)
		case kind == 2:
			for range len(padding) / 4 {
				p = p.Extension(frame.DestinationOptions, 8)
			}
			return p.UDP(9, serverPort, nil)
		}
		return append(p.UDP(9, serverPort, nil), padding...)
	}
}

// IDs of the VLAN devices of the host.
const (
	vlanID   = 5
	nestedID = 6
)

// addVLANs adds VLAN devices on the wire, and VLAN devices on these, of both types. A kernel
// without them removes tags of VLAN 0 all the same.
func (h *host) addVLANs() {
	h.Helper()
	wire, err := netlink.LinkByName(interfaceName)
	if err != nil {
		h.Fatal(err)
	}
	for _, outer := range []netlink.VlanProtocol{netlink.VLAN_PROTOCOL_8021Q, netlink.VLAN_PROTOCOL_8021AD} {
		lower := h.addVLAN(fmt.Sprintf("v%x", int(outer)), wire, outer, vlanID)
		if lower == nil {
			h.Log("the kernel has no VLAN devices: only tags of VLAN 0 get through")
			return
		}
		for _, inner := range []netlink.VlanProtocol{netlink.VLAN_PROTOCOL_8021Q, netlink.VLAN_PROTOCOL_8021AD} {
			h.addVLAN(fmt.Sprintf("v%x.%x", int(outer), int(inner)), lower, inner, nestedID)
		}
	}
}

func (h *host) addVLAN(name string, lower netlink.Link, protocol netlink.VlanProtocol, id int) netlink.Link {
	h.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = name, lower.Attrs().Index
	err := netlink.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: id, VlanProtocol: protocol})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		h.Fatalf("add VLAN device %s: %v", name, err)
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		h.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		h.Fatalf("set %s up: %v", name, err)
	}
	return link
}

// countIP counts the IP packets of both kinds of sources, before anything but XDP and the
// link layer has seen them.
func (h *host) countIP() {
	h.Helper()
	var script strings.Builder
	script.WriteString("table inet bypass {\n")
	for _, name := range []string{"blocked4", "blocked6", "free4", "free6"} {
		fmt.Fprintf(&script, "counter %s { }\n", name)
	}
	script.WriteString("chain seen { type filter hook prerouting priority raw - 200;\n")
	for i, protocol := range []string{"ip", "ip6"} {
		fmt.Fprintf(&script, "%s saddr %s counter name blocked%d drop\n", protocol, bypassBlocked[i], 4+2*i)
		fmt.Fprintf(&script, "%s saddr %s counter name free%d drop\n", protocol, bypassFree[i], 4+2*i)
	}
	script.WriteString("}\n}\n")
	h.nft(script.String(), "-f", "-")
	h.Cleanup(func() { h.nft("", "delete", "table", "inet", "bypass") })
}

func (h *host) nft(stdin string, args ...string) []byte {
	h.Helper()
	path, err := exec.LookPath("nft")
	if err != nil {
		if _, err := os.Stat("/usr/sbin/nft"); err != nil {
			testenv.Missing(h, "nft (package nftables)")
		}
		path = "/usr/sbin/nft"
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.Fatalf("nft %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// reachedIP returns the packets of each counter of countIP.
func (h *host) reachedIP() map[string]int {
	h.Helper()
	var list struct {
		Nftables []struct {
			Counter *struct {
				Name    string
				Packets int
			}
		}
	}
	if err := json.Unmarshal(h.nft("", "-j", "list", "counters", "table", "inet", "bypass"), &list); err != nil {
		h.Fatal(err)
	}
	counted := map[string]int{}
	for _, object := range list.Nftables {
		if object.Counter != nil {
			counted[object.Counter.Name] = object.Counter.Packets
		}
	}
	return counted
}

// waitTaken waits until the host end has taken all that was sent.
func (h *host) waitTaken() {
	h.Helper()
	c, err := h.wire.CaptureHost()
	if err != nil {
		h.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(h.Context(), time.Minute)
	defer cancel()
	if err := h.wire.Sync(ctx, c); err != nil {
		h.Fatal(err)
	}
}
