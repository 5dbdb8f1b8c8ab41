package differential

import (
	"net/netip"
	"slices"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/lab/frame"
)

// tunnelConstants make the program look into all tunnels.
var tunnelConstants = map[string]any{"tunnels": uint32(15), "vxlan_ports": [4]uint16{4789},
	"geneve_ports": [4]uint16{0, 0, 6081}}

func packet(src netip.Addr) frame.Packet {
	dst := netip.MustParseAddr("192.0.2.1")
	if src.Is6() {
		dst = netip.MustParseAddr("2001:db8::1")
	}
	return frame.IP(src, dst)
}

// carried returns a frame with the source, as often as not behind tags or another carrier of IP.
func (w *world) carried(src netip.Addr) []byte {
	p := packet(src)
	switch w.IntN(10) {
	case 0:
		p = p.PPPoE(w.IntN(2) == 0)
	case 1:
		p = p.Labels(frame.MPLS, 1+w.IntN(30))
	case 2:
		p = p.SNAP([]byte{0, 0xf8}[w.IntN(2)])
	case 3:
		p = p.VLAN(frame.QinQ1, 7).VLAN(frame.Dot1AD, 0).VLAN(frame.Dot1Q, 5)
	case 4:
		p = p.VLAN(frame.Dot1Q, 5).SNAP(0).PPPoE(false).Labels(frame.MPLS, 2)
	}
	return p.UDP(1, 2, []byte("payload"))
}

// tunnelled puts the frame into a tunnel from another source.
func (w *world) tunnelled(outer netip.Addr, in []byte) []byte {
	p := packet(outer)
	if outer.Is6() && w.IntN(2) == 0 {
		p = p.Extension(frame.DestinationOptions, 8)
	}
	isIP := in[12] == byte(frame.IPv4>>8) && in[13] == 0 || in[12] == byte(frame.IPv6>>8)
	switch w.IntN(5) {
	case 0:
		if proto := map[byte]uint8{4: frame.IPinIP, 6: frame.IPv6inIP}[in[14]>>4]; isIP {
			return p.Raw(proto, in[frame.EthernetSize:])
		}
		fallthrough
	case 1:
		// The EtherType of GRE is no length, as that of SNAP is.
		return p.Raw(frame.GRE, frame.EthernetInGRE(frame.GREKey, in))
	case 2:
		if isIP {
			return p.Raw(frame.GRE, frame.InGRE([]uint16{0, frame.GREChecksum | frame.GRESequence}[w.IntN(2)], in))
		}
		fallthrough
	case 3:
		return p.UDP(1, 4789, frame.InVXLAN(7, in))
	}
	return p.UDP(1, 6081, frame.InGeneve(7, 4*w.IntN(64), in))
}

// frame returns a frame from a source, with the source and the outcome that decide it. With tunnels,
// half of the frames have another source outside, which passes or is blocked.
func (w *world) frame(k *kernel, entries []policy.Entry, nest []netip.Prefix, src netip.Addr, now policy.Deadline) (
	b []byte, deciding netip.Addr, outcome policy.Outcome) {
	b, outcome = w.carried(src), policy.Decide(entries, src, now)
	if !k.tunnels || w.IntN(2) == 0 {
		return b, src, outcome
	}
	outer := w.source(nest)
	by := policy.Decide(entries, outer, now)
	if !slices.Contains([]policy.Outcome{policy.NotListed, policy.Allowed, policy.Blocked}, by) {
		return b, src, outcome
	}
	if b = w.tunnelled(outer, b); by == policy.Blocked {
		return b, outer, by
	}
	return b, src, outcome
}
