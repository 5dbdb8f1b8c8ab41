package program_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/tests/testenv"
)

// jumbo returns a 9000-byte packet, which no driver puts into one buffer.
func jumbo(p frame.Packet) []byte {
	const mtu = 9000
	headers := len(p.UDP(1, 2, nil)) - frame.EthernetSize
	return p.UDP(1, 2, make([]byte, mtu-headers))
}

// A frame in several buffers is counted with its whole length, and is not malformed because it is
// longer than the first buffer.
func TestJumboFrames(t *testing.T) {
	f := load(t, "frags")
	f.listSources()
	f.setCredit(1000)
	for source := range sourcesV4 {
		for _, p := range []frame.Packet{
			start(sourcesV4[source]), start(sourcesV6[source]),
			start(sourcesV4[source]).VLAN(frame.Dot1Q, 1),
			start(sourcesV6[source]).VLAN(frame.Dot1AD, 1).VLAN(frame.Dot1Q, 2),
		} {
			b := jumbo(p)
			want := wantOne(source, len(b))
			if address, _ := frame.Source(b); source.reported() {
				want.Events = []event{{Source: address, Proto: frame.UDP, Sport: 1, Dport: 2, Ports: true,
					Reason: source, Length: uint32(len(b))}}
			}
			check(t, fmt.Sprintf("jumbo frame from a source that is %s", source), want, f.observe(b), b)
		}
	}
	b := jumbo(start(sourcesV4[notListed]))
	binary.BigEndian.PutUint16(b[16:], 9001)
	check(t, "total length one byte beyond a jumbo frame", wantOne(malformed, len(b)), f.observe(b), b)
	b = jumbo(start(sourcesV6[notListed]))
	check(t, "jumbo frame cut short by a byte", wantOne(malformed, len(b)-1), f.observe(b[:len(b)-1]), b)
}

// Some drivers leave little or nothing in the first buffer (header split, mlx5
// with striding receive queues). Wherever the split is, the source decides, and
// an event tells the same.
func TestHeadersInLaterBuffers(t *testing.T) {
	testenv.Since(t, 6, 18, "the length of the first buffer to be chosen")
	f := load(t, "frags")
	f.listSources()
	f.setCredit(1 << 40)
	for source := range sourcesV4 {
		for _, c := range []struct {
			packet frame.Packet
			base   int // bytes up to the end of the base header
		}{
			{start(sourcesV4[source]), 14 + 20},
			{start(sourcesV4[source]).VLAN(frame.Dot1Q, 1), 14 + 4 + 20},
			{start(sourcesV6[source]), 14 + 40},
			{start(sourcesV6[source]).VLAN(frame.Dot1AD, 1).VLAN(frame.Dot1Q, 2), 14 + 8 + 40},
			{priorityTags(start(sourcesV4[source]), 8), 14 + 32 + 20},
			{start(sourcesV4[source]).PPPoE(false), 14 + 8 + 20},
			{start(sourcesV6[source]).PPPoE(true).VLAN(frame.QinQ1, 1), 14 + 4 + 7 + 40},
			{start(sourcesV4[source]).Labels(frame.MPLS, 2), 14 + 8 + 20},
			{start(sourcesV6[source]).SNAP(0).VLAN(frame.Dot1Q, 1), 14 + 4 + 8 + 40},
			{extend(start(sourcesV6[source]), frame.DestinationOptions, 8, 9), 14 + 40 + 72},
		} {
			b := c.packet.UDP(1, 2, make([]byte, 100))
			for linear := range c.base + 10 {
				want := wantOne(source, len(b))
				if source.reported() {
					want.Events = []event{describe(b, source)}
				}
				name := fmt.Sprintf("%d bytes in the first buffer, from a source that is %s", linear, source)
				check(t, name, want, f.observeSplit(b, linear), b)
			}
		}
	}
}

// Nor does it matter for what is counted and sampled.
func TestAccountsHeadersInLaterBuffers(t *testing.T) {
	testenv.Since(t, 6, 18, "the length of the first buffer to be chosen")
	f := load(t, "frags")
	a := f.account(levels, classes)
	a.table.SetSampling(1)
	for _, sources := range []map[reason]string{sourcesV4, sourcesV6} {
		a.trackSource(sources[notListed])
		p := start(sources[notListed])
		longer := extend
		if netip.MustParseAddr(sources[notListed]).Is4() {
			longer = func(p frame.Packet, _ uint8, size, _ int) frame.Packet { return p.Options(make([]byte, size)...) }
		}
		for name, b := range map[string][]byte{
			"a longer header": longer(p, frame.DestinationOptions, 8, 9).TCP(1, 443, frame.SYN, make([]byte, 100)),
			"UDP":             p.UDP(1, 53, make([]byte, 100)), "TCP": p.TCP(1, 443, frame.SYN,
				make([]byte, 100)), "ICMP": p.Echo(make([]byte, 100)),
			"eight tags":     priorityTags(p, 8).TCP(1, 443, frame.SYN, make([]byte, 100)),
			"first fragment": p.Fragment(0, true).TCP(1, 443, frame.SYN, make([]byte, 100)),
			"two tags":       p.VLAN(frame.Dot1AD, 1).VLAN(frame.Dot1Q, 2).TCP(1, 443, frame.RST, make([]byte, 100)),
		} {
			for linear := range min(len(b), 150) {
				want := a.counts()
				want.add(b)
				f.observeSplit(b, linear)
				if diff := cmp.Diff(want, a.counts()); diff != "" {
					t.Errorf("%s from %s, %d bytes in the first buffer: counters (-want +got):\n%s", name,
						sources[notListed], linear, diff)
				}
				if diff := cmp.Diff([]sampled{sampleOf(b, 1)}, a.takeSamples(), equateAddr); diff != "" {
					t.Errorf("%s from %s, %d bytes in the first buffer: samples (-want +got):\n%s", name,
						sources[notListed], linear, diff)
				}
			}
		}
	}
}
