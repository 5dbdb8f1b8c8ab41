package program_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/paraxial/paraxial/tests/lab/frame"
)

const igmp = 2

// needed tells whether a frame is one that a host needs, as docs/config.md lists them. It is the
// reference for bpf/essential.h.
func needed(b []byte) bool {
	etherType, l3, ok := unwrap(b)
	if _, readable := readSource(etherType, l3); !ok || !readable || contradicts(etherType, l3) {
		return false
	}
	ports := func(b []byte, x, y uint16) bool {
		if len(b) < 4 {
			return false
		}
		from, to := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		return from == x && to == y || from == y && to == x
	}
	if etherType == frame.IPv4 {
		header := int(l3[0]%16) * 4
		whole := binary.BigEndian.Uint16(l3[6:])&0x3fff == 0
		switch rest := after(l3, header); l3[9] {
		case frame.UDP:
			return whole && ports(rest, 67, 68)
		case igmp:
			return whole && len(rest) >= 2 && slices.Contains([]byte{0x11, 0x12, 0x16, 0x17, 0x22}, rest[0])
		}
		return false
	}
	proto, hops, rest := l3[6], l3[7], l3[40:]
	if proto == frame.UDP {
		return ports(rest, 546, 547)
	}
	if proto == frame.HopByHop && hops == 1 && len(rest) >= 8 && rest[1] == 0 {
		proto, rest = rest[0], rest[8:]
	}
	if proto != frame.ICMPv6 || len(rest) < 2 || rest[1] != 0 {
		return false
	}
	return hops == 255 && rest[0] >= 133 && rest[0] <= 137 ||
		hops == 1 && slices.Contains([]byte{130, 131, 132, 143}, rest[0])
}

// icmp6 returns a function that builds an ICMPv6 message.
func icmp6(hops, kind, code byte) func(frame.Packet) []byte {
	return func(p frame.Packet) []byte {
		return p.HopLimit(hops).Raw(frame.ICMPv6, append([]byte{kind, code}, make([]byte, 30)...))
	}
}

func udp(source, dest uint16) func(frame.Packet) []byte {
	return func(p frame.Packet) []byte { return p.UDP(source, dest, make([]byte, 240)) }
}

// essentialCase is a packet, and whether the host needs it.
type essentialCase struct {
	name  string
	build func(frame.Packet) []byte
	need  bool
}

func igmpOf(kind byte) func(frame.Packet) []byte {
	return func(p frame.Packet) []byte { return p.HopLimit(1).Raw(igmp, []byte{kind, 0, 0, 0, 224, 0, 0, 1}) }
}

var essentialV4 = []essentialCase{
	{"DHCP answer", udp(67, 68), true},
	{"DHCP request", udp(68, 67), true},
	{"DHCP answer with options of IP", func(p frame.Packet) []byte { return p.Options(1, 1).UDP(67, 68, nil) }, true},
	{"IGMP query", igmpOf(0x11), true},
	{"IGMP report of version 1", igmpOf(0x12), true},
	{"IGMP report of version 2", igmpOf(0x16), true},
	{"IGMP leave", igmpOf(0x17), true},
	{"IGMP report with router alert", func(p frame.Packet) []byte {
		return p.HopLimit(1).Options(0x94, 4, 0, 0).Raw(igmp, []byte{0x22, 0, 0, 0, 0, 0, 0, 0})
	}, true},
	{"DHCP between relays", udp(67, 67), false},
	{"client to client", udp(68, 68), false},
	{"DHCP port and another", udp(67, 69), false},
	{"DHCPv6 ports", udp(547, 546), false},
	{"first fragment of DHCP", func(p frame.Packet) []byte { return p.Fragment(0, true).UDP(67, 68, make([]byte, 64)) },
		false},
	{"TCP with DHCP ports", func(p frame.Packet) []byte { return p.TCP(67, 68, frame.SYN, nil) }, false},
	{"DHCP longer than the frame", func(p frame.Packet) []byte { return p.UDP(67, 68, make([]byte, 64))[:80] }, false},
	{"no transport", func(p frame.Packet) []byte { return p.Raw(frame.UDP, nil) }, false},
	{"IGMP of DVMRP", igmpOf(0x13), false},
	{"no IGMP type", func(p frame.Packet) []byte { return p.Raw(igmp, nil) }, false},
	{"later fragment of IGMP", func(p frame.Packet) []byte { return p.Fragment(8, false).Raw(igmp, []byte{0x11, 0}) },
		false},
	{"ICMP", func(p frame.Packet) []byte { return p.Echo(nil) }, false},
}

var essentialV6 = []essentialCase{
	{"router solicitation", icmp6(255, 133, 0), true},
	{"router advertisement", icmp6(255, 134, 0), true},
	{"neighbour solicitation", icmp6(255, 135, 0), true},
	{"neighbour advertisement", icmp6(255, 136, 0), true},
	{"redirect", icmp6(255, 137, 0), true},
	{"MLD query", mld(130, 8), true},
	{"MLD report", mld(131, 8), true},
	{"MLD done", mld(132, 8), true},
	{"MLDv2 report", mld(143, 8), true},
	{"MLD without router alert", icmp6(1, 143, 0), true},
	{"DHCPv6 answer", udp(547, 546), true},
	{"DHCPv6 request", udp(546, 547), true},
	{"echo request", icmp6(255, 128, 0), false},
	{"the type before", icmp6(255, 132, 0), false},
	{"the type behind", icmp6(255, 138, 0), false},
	{"advertisement that was forwarded", icmp6(254, 136, 0), false},
	{"advertisement with hop limit 1", icmp6(1, 136, 0), false},
	{"advertisement with a code", icmp6(255, 136, 1), false},
	{"MLD that may be forwarded", icmp6(2, 143, 0), false},
	{"MLD with hop limit 255", icmp6(255, 143, 0), false},
	{"MLD with a code", icmp6(1, 130, 1), false},
	{"MLD behind more options", mld(130, 16), false},
	{"advertisement behind options", func(p frame.Packet) []byte {
		return icmp6(255, 136, 0)(p.Extension(frame.HopByHop, 8))
	}, false},
	{"fragment of an advertisement", func(p frame.Packet) []byte { return icmp6(255, 136, 0)(p.Fragment(0, true)) },
		false},
	{"DHCPv4 ports", udp(67, 68), false},
	{"DHCPv6 relays", udp(547, 547), false},
	{"no type", func(p frame.Packet) []byte { return p.HopLimit(255).Raw(frame.ICMPv6, nil) }, false},
	{"advertisement longer than the frame", func(p frame.Packet) []byte { return icmp6(255, 136, 0)(p)[:70] }, false},
}

func mld(kind byte, options int) func(frame.Packet) []byte {
	return func(p frame.Packet) []byte { return icmp6(1, kind, 0)(p.Extension(frame.HopByHop, options)) }
}

// essentials are the rows for each family.
var essentials = []struct {
	name    string
	sources map[reason]string
	cases   []essentialCase
}{{"IPv4", sourcesV4, essentialV4}, {"IPv6", sourcesV6, essentialV6}}

// essentialCarriers are the link layers behind which each essential packet is tried.
var essentialCarriers = map[string]func(frame.Packet) frame.Packet{
	"Ethernet":  func(p frame.Packet) frame.Packet { return p },
	"two tags":  func(p frame.Packet) frame.Packet { return priorityTags(p, 2) },
	"PPPoE":     func(p frame.Packet) frame.Packet { return p.PPPoE(true) },
	"MPLS":      func(p frame.Packet) frame.Packet { return p.Labels(frame.MPLS, 30) },
	"SNAP, tag": func(p frame.Packet) frame.Packet { return p.VLAN(frame.QinQ1, 3).SNAP(0) },
}

// essentialCorpus returns the rows as packets of the corpus. The corpus has the exception off.
func essentialCorpus(cases []essentialCase) []packet {
	var rows []packet
	for _, c := range cases {
		rows = append(rows, packet{name: c.name, build: c.build})
		if slices.Contains([]string{"DHCP longer than the frame", "advertisement longer than the frame"}, c.name) {
			rows[len(rows)-1].reason = malformed
		}
	}
	return rows
}

// An essential packet passes where an entry would drop it, and only there; over the rate it is
// dropped. Other packets, and other sources, get what they get without the exception.
func TestEssential(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		for _, family := range essentials {
			for _, c := range family.cases {
				for carrier, wrap := range essentialCarriers {
					for source, address := range family.sources {
						f.checkEssential(t, family.name+" "+c.name+" by "+carrier, c, wrap(start(address)), source)
					}
				}
			}
		}
	})
}

func (f *filter) checkEssential(t *testing.T, name string, c essentialCase, p frame.Packet, source reason) {
	t.Helper()
	b := c.build(p)
	otherwise := judge(b, listed)
	if needed(b) != c.need {
		t.Fatalf("%s: the reference says %t", name, needed(b))
	}
	dropped := source == blocked || source == limited
	for _, state := range []struct {
		name    string
		buckets essentialBuckets
		want    reason
	}{
		{"on", anyRate, essential}, {"over the rate", noRate(), essentialLimited},
		{"off", essentialBuckets{}, otherwise},
	} {
		if !dropped && state.want != essential {
			continue
		}
		f.setEssential(state.buckets)
		f.setCredit(1)
		want := wantOne(otherwise, len(b))
		if c.need && dropped {
			want = wantOne(state.want, len(b))
			want.Hits = map[uint32]uint64{}
			if state.want != essential {
				want.Hits = hitsOf(source)
			}
		}
		for r := range want.Counters {
			if r.reported() {
				want.Events = []event{describe(b, r)}
			}
		}
		check(t, fmt.Sprintf("%s from a source that is %s, essential %s", name, source, state.name), want,
			f.observe(b), b)
	}
}
