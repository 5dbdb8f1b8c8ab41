package program_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/paraxial/paraxial/tests/lab/frame"
)

// jumbo is a 9000-byte packet, which no driver has in one buffer.
func jumbo(p frame.Packet) []byte {
	const mtu = 9000
	headers := len(p.UDP(1, 2, nil)) - frame.EthernetSize
	return p.UDP(1, 2, make([]byte, mtu-headers))
}

// A frame in several buffers is counted with its whole length, and is not
// malformed for being longer than the first buffer.
func TestJumboFrames(t *testing.T) {
	f := load(t, "frags")
	f.listSources()
	f.setCredit(1000)
	for source := range sourcesV4 {
		for _, p := range []frame.Packet{
			start(sourcesV4[source]), start(sourcesV6[source]),
			start(sourcesV4[source]).VLAN(frame.Dot1Q, 1), start(sourcesV6[source]).VLAN(frame.Dot1AD, 1).VLAN(frame.Dot1Q, 2),
		} {
			b := jumbo(p)
			want := wantOne(source, len(b))
			if address, _ := frame.Source(b); source == blocked || source == shadowed {
				want.Events = []event{{Source: address, Proto: frame.UDP, Sport: 1, Dport: 2, Ports: true, Reason: source, Length: uint32(len(b))}}
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
