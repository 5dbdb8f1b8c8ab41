package replay

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/tests/lab/frame"
)

var v6 = netip.MustParseAddr("2001:db8::1")

func TestParse(t *testing.T) {
	v4 := frame.IP(attacker, server)
	six := frame.IP(v6, v6)
	tcpHeader := func(a netip.Addr, flags uint8) detect.Header {
		return detect.Header{Source: a, Proto: 6, Transport: true, Port: 443, Flags: flags}
	}
	udpHeader := func(a netip.Addr) detect.Header {
		return detect.Header{Source: a, Proto: 17, Transport: true, Port: 53}
	}
	later := func(a netip.Addr) detect.Header { return detect.Header{Source: a, Proto: 17, Fragment: true} }
	fragmented := udpHeader(attacker)
	fragmented.Fragment = true
	fragmented6 := udpHeader(v6)
	fragmented6.Fragment = true
	ports := []byte{0, 9, 1, 187, 0, 0, 0, 0}
	tiny := func(a netip.Addr) detect.Header {
		return detect.Header{Source: a, Proto: 6, Fragment: true, Tiny: true, Transport: true, Port: 443}
	}
	hidden := func(proto uint8, fragment bool) detect.Header {
		return detect.Header{Source: v6, Proto: proto, Fragment: fragment, Tiny: fragment && proto == 6, Hidden: true}
	}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  detect.Header
	}{
		{"SYN", v4.TCP(9, 443, 2, nil), tcpHeader(attacker, 2)},
		{"IPv6 SYN", six.TCP(9, 443, 2, nil), tcpHeader(v6, 2)},
		{"VLAN", v4.VLAN(frame.Dot1Q, 5).TCP(9, 443, 0x12, nil), tcpHeader(attacker, 0x12)},
		{"two VLANs", six.VLAN(frame.Dot1AD, 5).VLAN(frame.Dot1Q, 6).UDP(9, 53, nil), udpHeader(v6)},
		{"eight VLANs", nest(v4, 8).UDP(9, 53, nil), udpHeader(attacker)},
		{"0x9100", v4.VLAN(frame.QinQ1, 5).VLAN(frame.QinQ2, 6).UDP(9, 53, nil), udpHeader(attacker)},
		{"PPPoE", v4.VLAN(frame.Dot1Q, 7).PPPoE(false).UDP(9, 53, nil), udpHeader(attacker)},
		{"PPPoE of IPv6", six.PPPoE(true).TCP(9, 443, 2, nil), tcpHeader(v6, 2)},
		{"MPLS", six.Labels(frame.MPLS, 30).UDP(9, 53, nil), udpHeader(v6)},
		{"SNAP, PPPoE and MPLS", v4.SNAP(0xf8).PPPoE(false).Labels(frame.MPLSMulticast, 2).TCP(9, 443, 2, nil),
			tcpHeader(attacker, 2)},
		{"tiny fragment", v4.Fragment(0, true).Raw(frame.TCP, ports), tiny(attacker)},
		{"tiny fragment, padding", append(v4.Fragment(0, true).Raw(frame.TCP, ports), make([]byte, 30)...),
			tiny(attacker)},
		{"IPv6 tiny fragment", six.Fragment(0, true).Raw(frame.TCP, ports), tiny(v6)},
		{"IPv6 tiny fragment, padding", append(six.Fragment(0, true).Raw(frame.TCP, ports), make([]byte, 30)...),
			tiny(v6)},
		{"as many extension headers as are walked", chain(six, maxExtensions).UDP(9, 53, nil), udpHeader(v6)},
		{"one more", chain(six, maxExtensions+1).UDP(9, 53, nil), hidden(frame.DestinationOptions, false)},
		{"chain in the next fragment",
			six.Fragment(0, true).Raw(frame.DestinationOptions, []byte{6, 1, 0, 0, 0, 0, 0, 0}),
			hidden(frame.TCP, true)},
		{"chain up to the end of a fragment", six.Fragment(0, true).Raw(frame.DestinationOptions, make([]byte, 8)),
			hidden(frame.HopByHop, true)},
		{"options", v4.Options(7, 4, 0, 0).UDP(9, 53, nil), udpHeader(attacker)},
		{"first fragment", v4.Fragment(0, true).UDP(9, 53, nil), fragmented},
		{"later fragment", v4.Fragment(8, false).UDP(9, 53, nil), later(attacker)},
		{"IPv6 first fragment", six.Fragment(0, true).UDP(9, 53, nil), fragmented6},
		{"IPv6 later fragment", six.Fragment(8, true).UDP(9, 53, nil), later(v6)},
		{"IPv6 extension headers", six.Extension(frame.HopByHop, 16).Extension(frame.Routing, 24).
			Extension(frame.DestinationOptions, 8).UDP(9, 53, nil), udpHeader(v6)},
		{"IPv6 AH", six.Extension(frame.AH, 24).UDP(9, 53, nil), udpHeader(v6)},
		{"TCP cut short", v4.Raw(frame.TCP, make([]byte, 14)), detect.Header{Source: attacker, Proto: 6}},
		{"ICMP", v4.Echo(nil), detect.Header{Source: attacker, Proto: 1}},
		{"ICMPv6", six.Echo(nil), detect.Header{Source: v6, Proto: 58}},
		{"GRE", v4.Raw(frame.GRE, make([]byte, 40)), detect.Header{Source: attacker, Proto: 47}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			want.Length = uint32(len(tt.frame))
			got, out := parse(layers.LinkTypeEthernet, tt.frame, len(tt.frame))
			if out != counted || got != want {
				t.Errorf("parse = %+v, %d; want %+v", got, out, want)
			}
			// A capture of fewer bytes gives the same header, a part of it, or cutShort.
			for n := range tt.frame {
				got, out := parse(layers.LinkTypeEthernet, tt.frame[:n], len(tt.frame))
				if out != counted && out != cutShort {
					t.Fatalf("of %d bytes: %d", n, out)
				}
				same := got.Source == want.Source && got.Length == want.Length && (!got.Transport || got == want)
				if out == counted && !same {
					t.Errorf("of %d bytes: %+v, want %+v or less", n, got, want)
				}
			}
		})
	}
}

func chain(p frame.Packet, n int) frame.Packet {
	for range n {
		p = p.Extension(frame.DestinationOptions, 8)
	}
	return p
}

// FuzzParse checks that parse returns a valid header for any frame.
func FuzzParse(f *testing.F) {
	six := frame.IP(v6, v6)
	f.Add(uint16(1), frame.IP(attacker, server).VLAN(frame.Dot1Q, 1).TCP(1, 2, 2, nil), 0)
	f.Add(uint16(1), six.Extension(frame.AH, 24).Fragment(8, true).UDP(1, 2, nil), 9)
	f.Add(uint16(101), withoutEthernet(six.Echo(nil)), 0)
	f.Add(uint16(113), make([]byte, 60), 0)
	f.Add(uint16(276), make([]byte, 60), 0)
	f.Fuzz(func(t *testing.T, link uint16, data []byte, more int) {
		wire := len(data) + max(more, 0)%2000
		h, out := parse(layers.LinkType(link), data, wire)
		if out == counted && (!h.Source.IsValid() || h.Source.Is4In6() || h.Length > uint32(wire)+etherSize) {
			t.Errorf("parse = %+v", h)
		}
	})
}
