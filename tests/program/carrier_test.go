package program_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/tests/lab/frame"
)

// carriers are the headers that carry IP on Ethernet, in every order that the program reads.
var carriers = []struct {
	name string
	wrap func(frame.Packet) frame.Packet
}{
	{"PPPoE", func(p frame.Packet) frame.Packet { return p.PPPoE(false) }},
	{"PPPoE, short protocol number", func(p frame.Packet) frame.Packet { return p.PPPoE(true) }},
	{"PPPoE and MPLS", func(p frame.Packet) frame.Packet { return p.PPPoE(false).Labels(frame.MPLS, 2) }},
	{"PPPoE and MPLS multicast", func(p frame.Packet) frame.Packet {
		return p.PPPoE(false).Labels(frame.MPLSMulticast, 1)
	}},
	{"MPLS", func(p frame.Packet) frame.Packet { return p.Labels(frame.MPLS, 1) }},
	{"MPLS multicast", func(p frame.Packet) frame.Packet { return p.Labels(frame.MPLSMulticast, 1) }},
	{"three labels", func(p frame.Packet) frame.Packet { return p.Labels(frame.MPLS, 3) }},
	{"all labels", func(p frame.Packet) frame.Packet { return p.Labels(frame.MPLS, 30) }},
	{"SNAP", func(p frame.Packet) frame.Packet { return p.SNAP(0) }},
	{"SNAP of IEEE 802.1H", func(p frame.Packet) frame.Packet { return p.SNAP(0xf8) }},
	{"SNAP and PPPoE", func(p frame.Packet) frame.Packet { return p.SNAP(0).PPPoE(false) }},
	{"SNAP and MPLS", func(p frame.Packet) frame.Packet { return p.SNAP(0).Labels(frame.MPLS, 2) }},
	{"everything", func(p frame.Packet) frame.Packet {
		return p.SNAP(0).PPPoE(false).Labels(frame.MPLS, 30)
	}},
}

// carried returns rows of the corpus: every carrier behind no, one and eight tags, with
// several transports, and carriers that do not carry IP.
func carried() []packet {
	var rows []packet
	for _, c := range carriers {
		for _, tags := range []int{0, 1, 8} {
			wrap := func(p frame.Packet) frame.Packet { return c.wrap(priorityTags(p, tags)) }
			add := func(name string, build func(frame.Packet) []byte) {
				rows = append(rows, packet{name: fmt.Sprintf("%d tags, %s, %s", tags, c.name, name), build: build})
			}
			add("UDP", func(p frame.Packet) []byte { return wrap(p).UDP(1000, 53, []byte("query")) })
			add("SYN", func(p frame.Packet) []byte { return wrap(p).TCP(1000, 443, frame.SYN, nil) })
			add("fragment", func(p frame.Packet) []byte {
				return wrap(p).Fragment(0, true).UDP(1, 2, make([]byte, 64))
			})
			short := wrap(start(sourcesV4[notListed])).UDP(1, 2, nil)
			rows = append(rows, packet{name: fmt.Sprintf("%d tags, %s, cut short", tags, c.name), reason: malformed,
				blind: true, build: func(p frame.Packet) []byte { return wrap(p).UDP(1, 2, nil)[:len(short)-9] }})
		}
	}
	link := frame.EthernetSize
	return append(rows,
		packet{name: "one label too many", reason: mplsExcess, blind: true, build: func(p frame.Packet) []byte {
			return p.Labels(frame.MPLS, 31).UDP(1, 2, nil)
		}},
		packet{name: "labels without an end", reason: malformed, blind: true, build: func(p frame.Packet) []byte {
			b := p.Labels(frame.MPLS, 1).UDP(1, 2, nil)
			return patch(b[:link+4], link, 0, 1, 0, 64)
		}},
		packet{name: "nothing behind a label", reason: malformed, blind: true, build: func(p frame.Packet) []byte {
			return p.Labels(frame.MPLS, 1).UDP(1, 2, nil)[:link+4]
		}},
		packet{name: "MPLS with a pseudowire", reason: notIP, blind: true, build: func(p frame.Packet) []byte {
			return patch(p.Labels(frame.MPLS, 1).UDP(1, 2, nil), link+4, 0)
		}},
		packet{name: "PPPoE discovery", reason: notIP, blind: true, build: func(p frame.Packet) []byte {
			return patch(p.PPPoE(false).UDP(1, 2, nil), link-2, 0x88, 0x63)
		}},
		packet{name: "PPP of LCP", reason: notIP, blind: true, build: func(p frame.Packet) []byte {
			return patch(p.PPPoE(false).UDP(1, 2, nil), link+6, 0xc0, 0x21)
		}},
		packet{name: "PPPoE alone", reason: malformed, blind: true, build: func(p frame.Packet) []byte {
			return p.PPPoE(false).UDP(1, 2, nil)[:link+6]
		}},
		packet{name: "PPPoE and half a protocol number", reason: malformed, blind: true,
			build: func(p frame.Packet) []byte { return p.PPPoE(false).UDP(1, 2, nil)[:link+7] }},
		packet{name: "802.3 with another SAP", reason: notIP, blind: true, build: func(p frame.Packet) []byte {
			return patch(p.SNAP(0).UDP(1, 2, nil), link, 0x42, 0x42)
		}},
		packet{name: "SNAP of another OUI", reason: notIP, blind: true, build: func(p frame.Packet) []byte {
			return patch(p.SNAP(0).UDP(1, 2, nil), link+3, 0, 0, 0x0c)
		}},
		packet{name: "SNAP with a tag", reason: notIP, blind: true, build: func(p frame.Packet) []byte {
			return patch(p.SNAP(0).UDP(1, 2, nil), link+6, 0x81, 0)
		}},
		packet{name: "an EtherType of 0x0600", reason: notIP, blind: true, build: func(p frame.Packet) []byte {
			return patch(p.SNAP(0).UDP(1, 2, nil), link-2, 6, 0)
		}},
	)
}

// Detectors and events see the transport behind every carrier.
func TestCarriedTransports(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		a := f.account(levels, classes)
		a.table.SetSampling(1)
		for _, sources := range []map[reason]string{sourcesV4, sourcesV6} {
			a.trackSource(sources[notListed])
			for _, c := range carriers {
				p := c.wrap(start(sources[notListed]).VLAN(frame.Dot1Q, 5))
				for _, b := range [][]byte{p.UDP(1, 53, nil), p.TCP(1, 443, frame.SYN, nil), p.Echo(nil),
					p.Fragment(0, true).TCP(1, 443, frame.SYN, make([]byte, 64))} {
					want := a.counts()
					want.add(b)
					f.run(b)
					if diff := cmp.Diff(want, a.counts()); diff != "" {
						t.Errorf("%s from %s: counters (-want +got):\n%s", c.name, sources[notListed], diff)
					}
					if diff := cmp.Diff([]sampled{sampleOf(b, 1)}, a.takeSamples(), equateAddr); diff != "" {
						t.Errorf("%s from %s: samples (-want +got):\n%s", c.name, sources[notListed], diff)
					}
				}
				f.setCredit(1)
				b := c.wrap(start(sources[blocked])).TCP(sport, dport, frame.SYN, nil)
				want := wantOne(blocked, len(b))
				want.Events = []event{describe(b, blocked)}
				check(t, c.name+" from a blocked source", want, f.observe(b), b)
				if e := want.Events[0]; e.Dport != dport || e.Proto != frame.TCP {
					t.Errorf("%s: the reference describes %+v", c.name, e)
				}
			}
		}
	})
}
