package ladder

import (
	"net/netip"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

const second = policy.Deadline(time.Second)

func TestMemoryIsBounded(t *testing.T) {
	m := memory{capacity: 1000, offences: map[Key]offence{}}
	for n := range 5000 {
		k := Key{"detector:x", netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 32)}
		at := policy.Deadline(n) * second
		m.note(k, offence{1, at, at + 1e6*second}, at)
		if len(m.offences) > 1000 {
			t.Fatalf("%d offenders", len(m.offences))
		}
	}
	for n := 4999; n > 4999-800; n-- { // the latest are kept
		k := Key{"detector:x", netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 32)}
		if m.offences[k].count != 1 {
			t.Fatalf("offender %d is forgotten", n)
		}
	}
}
