package program_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/tests/testenv"
)

// allTunnels are the constants of a program that looks into every kind of tunnel.
var allTunnels = map[string]any{"tunnels": uint32(15), "vxlan_ports": [4]uint16{4789, 8472},
	"geneve_ports": [4]uint16(geneveExtra)}

// eachTunnelBuild runs test with both builds, which look into tunnels.
func eachTunnelBuild(t *testing.T, test func(t *testing.T, f *filter)) {
	for _, build := range []string{"plain", "frags"} {
		t.Run(build, func(t *testing.T) { test(t, loadWith(t, build, allTunnels)) })
	}
}

// A tunnel puts an Ethernet frame, or what it carries, into a packet.
type tunnel struct {
	name string
	wrap func(outer frame.Packet, in []byte) []byte
}

func inUDP(port uint16, payload func([]byte) []byte) func(frame.Packet, []byte) []byte {
	return func(p frame.Packet, in []byte) []byte { return p.UDP(50000, port, payload(in)) }
}

func inGRE(payload func([]byte) []byte) func(frame.Packet, []byte) []byte {
	return func(p frame.Packet, in []byte) []byte { return p.Raw(frame.GRE, payload(in)) }
}

// inIP is IP in IP. The EtherType must be that of IP.
func inIP(p frame.Packet, in []byte) []byte {
	proto := frame.IPinIP
	if in[12] == byte(frame.IPv6>>8) {
		proto = frame.IPv6inIP
	}
	return p.Raw(proto, in[frame.EthernetSize:])
}

// The tunnels that carry IP, and those that carry any EtherType or a whole frame.
var (
	tunnelsOfIP = []tunnel{
		{"IP in IP", inIP},
		{"VXLAN-GPE", inUDP(4789, func(in []byte) []byte {
			next := map[byte]byte{0x08: 1, 0x86: 2}[in[12]]
			return patch(frame.InVXLAN(5, in[frame.EthernetSize:]), 0, 0x0c, 0, 0, next)
		})},
	}
	tunnelsOfEthernet = []tunnel{
		{"GRE", inGRE(func(in []byte) []byte { return frame.InGRE(0, in) })},
		{"GRE with a key", inGRE(func(in []byte) []byte { return frame.InGRE(frame.GREKey, in) })},
		{"GRE with a checksum", inGRE(func(in []byte) []byte { return frame.InGRE(frame.GREChecksum, in) })},
		{"GRE with everything", inGRE(func(in []byte) []byte {
			return frame.InGRE(frame.GREChecksum|frame.GREKey|frame.GRESequence, in)
		})},
		{"Ethernet in GRE", inGRE(func(in []byte) []byte { return frame.EthernetInGRE(0, in) })},
		{"Ethernet in GRE with a sequence", inGRE(func(in []byte) []byte {
			return frame.EthernetInGRE(frame.GRESequence, in)
		})},
		{"VXLAN", inUDP(4789, func(in []byte) []byte { return frame.InVXLAN(5, in) })},
		{"VXLAN at the second port", inUDP(8472, func(in []byte) []byte { return frame.InVXLAN(1<<24-1, in) })},
		{"VXLAN-GPE with Ethernet", inUDP(4789, func(in []byte) []byte {
			return patch(frame.InVXLAN(5, in), 0, 0x0c, 0, 0, 3)
		})},
		{"Geneve", inUDP(geneve, func(in []byte) []byte { return frame.InGeneve(5, 0, in) })},
		{"Geneve with options", inUDP(geneve, func(in []byte) []byte { return frame.InGeneve(5, 16, in) })},
		{"Geneve with all options at the last port", inUDP(6082, func(in []byte) []byte {
			return frame.InGeneve(5, 252, in)
		})},
		{"Geneve without Ethernet", inUDP(geneve, func(in []byte) []byte {
			return patch(frame.InGeneve(5, 8, in[frame.EthernetSize:]), 2, in[12], in[13])
		})},
	}
)

// tunnelsOf returns the tunnels that can carry a frame.
func tunnelsOf(isIP bool) []tunnel {
	if isIP {
		return slices.Concat(tunnelsOfIP, tunnelsOfEthernet)
	}
	return tunnelsOfEthernet
}

// outers are the packets around a tunnel.
var outers = []struct {
	name  string
	plain bool
	of    func(source reason) frame.Packet
}{
	{"IPv4", true, func(r reason) frame.Packet { return start(sourcesV4[r]) }},
	{"IPv4 with options", false, func(r reason) frame.Packet {
		return start(sourcesV4[r]).Options(make([]byte, 40)...)
	}},
	{"IPv6", true, func(r reason) frame.Packet { return start(sourcesV6[r]) }},
	{"IPv6 with an encapsulation limit", false, func(r reason) frame.Packet {
		return start(sourcesV6[r]).Extension(frame.DestinationOptions, 8)
	}},
	{"a tag and a first fragment of IPv4", false, func(r reason) frame.Packet {
		return start(sourcesV4[r]).VLAN(frame.Dot1Q, 5).Fragment(0, true)
	}},
	{"a first fragment of IPv6 in PPPoE", false, func(r reason) frame.Packet {
		return start(sourcesV6[r]).PPPoE(false).Fragment(0, true)
	}},
}

// body makes an inner packet long enough for a first fragment.
var body = make([]byte, 32)

// inners are the frames in a tunnel.
var inners = []struct {
	name string
	isIP bool
	of   func(source reason) []byte
}{
	{"IPv4", true, func(r reason) []byte { return start(sourcesV4[r]).TCP(1, 443, frame.SYN, body) }},
	{"IPv6", true, func(r reason) []byte { return start(sourcesV6[r]).UDP(1, 53, body) }},
	{"IPv4 with eight tags", false, func(r reason) []byte {
		return priorityTags(start(sourcesV4[r]), 8).UDP(1, 2, body)
	}},
	{"IPv6 with three tags", false, func(r reason) []byte {
		return priorityTags(start(sourcesV6[r]), 3).UDP(1, 2, body)
	}},
	{"IPv4 in PPPoE", false, func(r reason) []byte { return start(sourcesV4[r]).PPPoE(true).UDP(1, 2, body) }},
	{"IPv6 in MPLS", false, func(r reason) []byte {
		return start(sourcesV6[r]).Labels(frame.MPLS, 30).UDP(1, 2, body)
	}},
	{"IPv4 in SNAP, with a tag", false, func(r reason) []byte {
		return start(sourcesV4[r]).VLAN(frame.QinQ1, 1).SNAP(0).UDP(1, 2, body)
	}},
}

// through returns the reason for a packet whose outer and inner source have these.
func through(outer, in reason) reason {
	switch {
	case outer == blocked || outer == limited:
		return outer
	case in != notListed:
		return in
	case outer == allowed: // of the tunnel's end, and not of what comes through it
		return notListed
	}
	return outer
}

// pairs returns the reasons of outer and inner sources to try: all, or those with one usual source.
func pairs(all bool) (list [][2]reason) {
	for outer := range sourcesV4 {
		for in := range sourcesV4 {
			if all || outer == notListed || in == blocked {
				list = append(list, [2]reason{outer, in})
			}
		}
	}
	return list
}

func sum(a, b map[uint32]uint64) map[uint32]uint64 {
	all := maps.Clone(a)
	for id, n := range b {
		all[id] += n
	}
	return all
}

// Every tunnel × outer family × inner family and link layer × what the lists say on both sources.
func TestTunnels(t *testing.T) {
	eachTunnelBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		f.setCredit(1 << 40)
		for _, outer := range outers {
			for _, in := range inners {
				for _, tunnel := range tunnelsOf(in.isIP) {
					name := in.name + " in " + tunnel.name + " in " + outer.name
					for _, pair := range pairs(in.isIP && outer.plain) {
						f.checkTunnel(t, name, tunnel.wrap(outer.of(pair[0]), in.of(pair[1])), pair[0], pair[1])
					}
				}
			}
		}
	})
}

func (f *filter) checkTunnel(t *testing.T, name string, b []byte, outer, in reason) {
	t.Helper()
	r := through(outer, in)
	agreed, seen := judgeTunnels(b, listed)
	if agreed != r {
		t.Fatalf("%s: the reference says %s, want %s", name, agreed, r)
	}
	want := outcome{Action: r.action(), Counters: map[reason]counter{r: {1, uint64(len(b))}}, Hits: hitsOf(outer)}
	if outer != blocked && outer != limited {
		want.Hits = sum(want.Hits, hitsOf(in))
	}
	if r.reported() {
		e := describe(seen, r)
		e.Length = uint32(len(b))
		want.Events = []event{e}
	}
	check(t, fmt.Sprintf("%s, outer source %s, inner source %s", name, outer, in), want, f.observe(b), b)
}

// Without the option the outer source alone decides.
func TestTunnelsOff(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		for _, outer := range outers {
			for _, tunnel := range tunnelsOf(true) {
				for o := range sourcesV4 {
					b := tunnel.wrap(outer.of(o), inners[0].of(blocked))
					check(t, tunnel.name+" in "+outer.name, wantOne(o, len(b)), f.observe(b), b)
				}
			}
		}
	})
}

// Only the kinds and ports that are set are looked into.
func TestTunnelsOfAKind(t *testing.T) {
	kinds := map[string]struct {
		constants map[string]any
		build     func(frame.Packet, []byte) []byte
	}{
		"GRE":  {map[string]any{"tunnels": uint32(1)}, tunnelsOfEthernet[0].wrap},
		"IPIP": {map[string]any{"tunnels": uint32(2)}, func(p frame.Packet, in []byte) []byte { return inIP(p, in) }},
		"SIT":  {map[string]any{"tunnels": uint32(4)}, nil},
		"VXLAN": {map[string]any{"tunnels": uint32(8), "vxlan_ports": [4]uint16{0, 0, 0, 8472}},
			tunnelsOfEthernet[7].wrap},
		"Geneve": {map[string]any{"tunnels": uint32(8), "geneve_ports": [4]uint16{6081}}, tunnelsOfEthernet[9].wrap},
	}
	v4, v6 := inners[0].of(blocked), inners[1].of(blocked)
	packets := map[string]func(frame.Packet) []byte{
		"GRE":    func(p frame.Packet) []byte { return kinds["GRE"].build(p, v4) },
		"IPIP":   func(p frame.Packet) []byte { return inIP(p, v4) },
		"SIT":    func(p frame.Packet) []byte { return inIP(p, v6) },
		"VXLAN":  func(p frame.Packet) []byte { return kinds["VXLAN"].build(p, v4) },
		"Geneve": func(p frame.Packet) []byte { return kinds["Geneve"].build(p, v6) },
		"other":  func(p frame.Packet) []byte { return tunnelsOfEthernet[6].wrap(p, v4) }, // VXLAN at port 4789
	}
	for kind, k := range kinds {
		f := loadWith(t, "plain", k.constants)
		f.listSources()
		for name, build := range packets {
			for _, outer := range outers[:4] {
				b := build(outer.of(notListed))
				want := notListed
				if name == kind {
					want = blocked
				}
				name := fmt.Sprintf("%s in %s with %s on", name, outer.name, kind)
				check(t, name, wantOne(want, len(b)), f.observe(b), b)
			}
		}
	}
}

// tunnelCases are packets of tunnels with an inner source that is blocked, unless it cannot be read.
var tunnelCases = []struct {
	name  string
	build func(v4, v6 frame.Packet) []byte
	want  reason
}{
	{"WCCP in GRE", func(p, _ frame.Packet) []byte {
		return p.Raw(frame.GRE, patch(frame.InGRE(0, blockedV4), 2, 0x88, 0x3e))
	}, blocked},
	{"WCCP in GRE with its header", func(p, _ frame.Packet) []byte {
		in := append(make([]byte, 4), blockedV4[frame.EthernetSize:]...)
		return p.Raw(frame.GRE, append([]byte{0, 0, 0x88, 0x3e}, in...))
	}, blocked},
	{"GRE of PPTP", gre(0x2001, 0x880b, 40), notListed},
	{"GRE with routing", gre(0x4000, 0x0800, 40), notListed},
	{"GRE of ARP", gre(0, 0x0806, 28), notListed},
	{"keepalive of GRE", gre(0, 0, 0), notListed},
	{"GRE alone", gre(0, 0x0800, 0), malformed},
	{"half a header of GRE", func(p, _ frame.Packet) []byte { return p.Raw(frame.GRE, []byte{0, 0, 8}) }, malformed},
	{"IP in GRE cut short", gre(0, 0x0800, 19), malformed},
	{"IPv6 that claims to be IPv4", func(p, _ frame.Packet) []byte {
		return p.Raw(frame.IPinIP, blockedV6[frame.EthernetSize:])
	}, malformed},
	{"inner packet longer than the frame", func(p, _ frame.Packet) []byte {
		in := start(sourcesV4[notListed]).UDP(1, 2, make([]byte, 64))
		return p.Raw(frame.IPinIP, in[frame.EthernetSize:80])
	}, malformed},
	{"a blocked inner packet longer than the frame", func(p, _ frame.Packet) []byte {
		return p.Raw(frame.IPinIP, blockedV4[frame.EthernetSize:len(blockedV4)-4])
	}, blocked},
	{"nine tags", func(p, _ frame.Packet) []byte {
		return p.UDP(1, 4789, frame.InVXLAN(1, tagged(9)(start(sourcesV4[notListed]))))
	}, vlanExcess},
	{"31 labels", func(p, _ frame.Packet) []byte {
		return p.Raw(frame.GRE, frame.InGRE(0, start(sourcesV4[notListed]).Labels(frame.MPLS, 31).UDP(1, 2, nil)))
	}, mplsExcess},
	{"VXLAN of ARP", func(p, _ frame.Packet) []byte {
		return p.UDP(1, 4789, frame.InVXLAN(1, etherType(frame.ARP)))
	}, notListed},
	{"VXLAN-GPE of NSH", func(p, _ frame.Packet) []byte {
		return p.UDP(1, 4789, patch(frame.InVXLAN(1, blockedV4), 0, 0x0c, 0, 0, 4))
	}, notListed},
	{"VXLAN cut short", func(p, _ frame.Packet) []byte { return p.UDP(1, 4789, make([]byte, 7)) }, malformed},
	{"Geneve cut short", func(p, _ frame.Packet) []byte { return p.UDP(1, 6081, make([]byte, 7)) }, malformed},
	{"UDP of another port", func(p, _ frame.Packet) []byte {
		return p.UDP(4789, 4790, frame.InVXLAN(1, blockedV4))
	}, notListed},
	{"a tunnel in a tunnel", func(p, _ frame.Packet) []byte {
		return inIP(p, inIP(start(sourcesV4[notListed]), blockedV4))
	}, notListed},
	{"a later fragment", func(p, _ frame.Packet) []byte {
		return p.Fragment(64, false).Raw(frame.IPinIP, blockedV4[frame.EthernetSize:])
	}, notListed},
	{"a later fragment of IPv6", func(_, p frame.Packet) []byte {
		return p.Fragment(64, true).Raw(frame.IPinIP, blockedV4[frame.EthernetSize:])
	}, notListed},
	// The sender chose the bytes behind the end of the fragment. Linux takes those of the next one.
	{"a first fragment that ends before the source", shortened(frame.GRE, 8, frame.InGRE(0, freeV4)), tunnelHidden},
	{"a first fragment that ends in the header of VXLAN", shortened(frame.UDP, 8,
		vxlanDatagram(patch(frame.InVXLAN(5, freeV4), 0, 0x0c, 0, 0, 4))), tunnelHidden},
	{"a first fragment that ends before the EtherType", shortened(frame.UDP, 24,
		vxlanDatagram(frame.InVXLAN(5, etherType(frame.ARP)))), tunnelHidden},
	{"a first fragment of IPv6 that ends before the source", func(_, p frame.Packet) []byte {
		b := p.Fragment(0, true).Raw(frame.GRE, frame.InGRE(0, freeV4))
		return patch(b, frame.EthernetSize+4, 0, 8+8)
	}, tunnelHidden},
	{"a first fragment of another protocol", func(p, _ frame.Packet) []byte {
		return p.Fragment(0, true).Raw(frame.UDP, []byte{0, 1, 0, 2, 0, 8, 0, 0})
	}, notListed},
	{"more extension headers than are walked", func(_, p frame.Packet) []byte {
		return inIP(extend(p, frame.DestinationOptions, 8, maxWalked+1), blockedV4)
	}, tunnelHidden},
	{"as many as are walked", func(_, p frame.Packet) []byte {
		return inIP(extend(p, frame.DestinationOptions, 8, maxWalked), blockedV4)
	}, blocked},
	{"the deepest header", func(_, p frame.Packet) []byte {
		// 14 + 40 + 960 = 1014; the next larger extension header makes it 1022.
		return inIP(p.Extension(frame.DestinationOptions, 968), blockedV4)
	}, blocked},
	{"a header that is too deep", func(_, p frame.Packet) []byte {
		return inIP(p.Extension(frame.DestinationOptions, 976), blockedV4)
	}, tunnelHidden},
	{"too deep and no tunnel", func(_, p frame.Packet) []byte {
		return p.Extension(frame.DestinationOptions, 976).UDP(1, 2, nil)
	}, notListed},
	{"too deep behind tags", func(_, p frame.Packet) []byte {
		in := frame.InGRE(0, tagged(8)(start(sourcesV4[blocked])))
		return p.Extension(frame.DestinationOptions, 960).Raw(frame.GRE, in)
	}, tunnelHidden},
}

var (
	freeV4    = start(sourcesV4[notListed]).UDP(1, 2, make([]byte, 32))
	blockedV4 = start(sourcesV4[blocked]).UDP(1, 2, make([]byte, 32))
	blockedV6 = start(sourcesV6[blocked]).UDP(1, 2, make([]byte, 32))
)

// gre returns a function that builds a packet of GRE with the start of a packet of a blocked source.
func gre(flags, etherType uint16, size int) func(v4, v6 frame.Packet) []byte {
	return func(p, _ frame.Packet) []byte {
		b := []byte{byte(flags >> 8), byte(flags), byte(etherType >> 8), byte(etherType)}
		return p.Raw(frame.GRE, append(b, blockedV4[frame.EthernetSize:][:size]...))
	}
}

func vxlanDatagram(payload []byte) []byte {
	return append([]byte{0, 1, 4789 >> 8, 4789 & 0xff, 0, 0, 0, 0}, payload...)
}

// shortened returns a function that builds a first fragment of IPv4 whose header counts only size
// bytes of the payload.
func shortened(proto uint8, size byte, payload []byte) func(v4, v6 frame.Packet) []byte {
	return func(p, _ frame.Packet) []byte {
		return patch(p.Fragment(0, true).Raw(proto, payload), frame.EthernetSize+2, 0, frame.IPv4Size+size)
	}
}

func TestTunnelCases(t *testing.T) {
	eachTunnelBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		for _, c := range tunnelCases {
			b := c.build(start(sourcesV4[notListed]), start(sourcesV6[notListed]))
			if r, _ := judgeTunnels(b, listed); r != c.want {
				t.Errorf("%s: the reference says %s, want %s", c.name, r, c.want)
			}
			check(t, c.name, wantOne(c.want, len(b)), f.observe(b), b)
		}
	})
}

// Detectors count the source and transport in the tunnel, and not the end of the tunnel.
func TestAccountsTunnels(t *testing.T) {
	eachTunnelBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		a := f.account(levels, classes)
		a.table.SetSampling(1)
		for r := range sourcesV4 {
			a.trackSource(sourcesV4[r])
			a.trackSource(sourcesV6[r])
		}
		for _, outer := range outers {
			for _, in := range inners {
				for _, tunnel := range tunnelsOf(in.isIP) {
					for _, pair := range [][2]reason{{notListed, notListed}, {allowed, notListed}, {notListed, blocked},
						{shadowed, underLimit}} {
						name := fmt.Sprintf("%s in %s in %s, sources %s", in.name, tunnel.name, outer.name, pair)
						b := tunnel.wrap(outer.of(pair[0]), in.of(pair[1]))
						a.checkAccounted(t, name, b, through(pair[0], pair[1]))
					}
				}
			}
		}
		for _, c := range tunnelCases {
			b := c.build(start(sourcesV4[notListed]), start(sourcesV6[notListed]))
			a.checkAccounted(t, c.name, b, c.want)
		}
	})
}

func (a *accounting) checkAccounted(t *testing.T, name string, b []byte, r reason) {
	t.Helper()
	want, wantSamples := a.counts(), []sampled(nil)
	if r == notListed || r == shadowed || r == underLimit {
		_, seen := judgeTunnels(b, listed)
		want.addLength(seen, len(b))
		s := sampleOf(seen, 1)
		s.Length = uint32(len(b))
		wantSamples = []sampled{s}
	}
	a.run(b)
	if diff := cmp.Diff(want, a.counts()); diff != "" {
		t.Errorf("%s: counters (-want +got):\n%s", name, diff)
	}
	if diff := cmp.Diff(wantSamples, a.takeSamples(), equateAddr); diff != "" {
		t.Errorf("%s: samples (-want +got):\n%s", name, diff)
	}
}

// Wherever a frame in several buffers is split, the inner source decides.
func TestTunnelsInLaterBuffers(t *testing.T) {
	testenv.Since(t, 6, 18, "the length of the first buffer to be chosen")
	f := loadWith(t, "frags", allTunnels)
	f.listSources()
	for _, outer := range outers {
		for _, tunnel := range tunnelsOf(true) {
			for _, in := range inners[:2] {
				b := tunnel.wrap(outer.of(notListed), in.of(blocked))
				for linear := 0; linear < min(len(b), 160); linear += 3 {
					name := fmt.Sprintf("%s in %s in %s, %d bytes first", in.name, tunnel.name, outer.name, linear)
					check(t, name, wantOne(blocked, len(b)), f.observeSplit(b, linear), b)
				}
			}
		}
	}
}

// A packet in a tunnel is essential as any other.
func TestEssentialInTunnels(t *testing.T) {
	eachTunnelBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		f.setEssential(anyRate)
		for _, tunnel := range tunnelsOfEthernet {
			answer := udp(67, 68)(start(sourcesV4[blocked]))
			advertisement := icmp6(255, 136, 0)(start(sourcesV6[blocked]))
			for _, in := range [][]byte{answer, advertisement} {
				b := tunnel.wrap(start(sourcesV4[notListed]), in)
				want := wantOne(essential, len(b))
				check(t, "essential packet in "+tunnel.name, want, f.observe(b), b)
			}
		}
	})
}
