package detect

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// sourceKey is the prefix of a source without pointers. IPv4 is held as an IPv4-mapped
// address.
type sourceKey struct {
	high, low uint64
	bits      uint8 // prefix length of the IPv6 address
}

const mappedBits = 96

func keyOf(a netip.Addr, length int) sourceKey {
	if a.Is4() {
		length += mappedBits
	}
	b := a.As16()
	k := sourceKey{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), uint8(length)}
	if length < 64 {
		k.low = 0
		k.high &= ^uint64(0) << (64 - length)
	} else {
		k.low &= ^uint64(0) << (128 - length) // a length of 64 clears all: Go shifts by 64 to 0
	}
	return k
}

func (k sourceKey) prefix() netip.Prefix {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k.high)
	binary.BigEndian.PutUint64(b[8:], k.low)
	a := netip.AddrFrom16(b)
	if a.Is4In6() && k.bits >= mappedBits {
		return netip.PrefixFrom(a.Unmap(), int(k.bits)-mappedBits)
	}
	return netip.PrefixFrom(a, int(k.bits))
}

func (k sourceKey) compare(other sourceKey) int {
	return cmp.Or(cmp.Compare(k.high, other.high), cmp.Compare(k.low, other.low), cmp.Compare(k.bits, other.bits))
}

// seen is what samples have shown about a source.
type seen struct {
	ports  [maxPorts]uint16 // the last different ports, most recent first; 0 is none
	length uint32           // moving average of packet lengths; 0 is none
}

func (s *seen) note(sample Sample) {
	if s.length == 0 {
		s.length = sample.Length
	} else {
		s.length = uint32((7*uint64(s.length) + uint64(sample.Length)) / 8)
	}
	if sample.Port == 0 || s.ports[0] == sample.Port {
		return
	}
	at := slices.Index(s.ports[:], sample.Port)
	if at < 0 {
		at = maxPorts - 1
	}
	copy(s.ports[1:at+1], s.ports[:at])
	s.ports[0] = sample.Port
}

func (s *seen) about() About {
	n := maxPorts
	for n > 0 && s.ports[n-1] == 0 {
		n--
	}
	return About{Ports: slices.Clone(s.ports[:n]), Length: s.length}
}

// The size of the hash table of candidates: sets, with this many places each.
const (
	ways = 8
	sets = 1 << 13
)

// candidates is a hash table of fixed size. It holds sources with what was sampled of
// them in this period and the previous one. In a full set the source with the fewest
// samples is replaced, and of several with equally few the one whose last sample is
// oldest. Of a million forged sources each is seen once and is soon replaced.
type candidates struct {
	seeds [2]uint64
	table []sampled
	clock uint32 // number of samples so far
}

// sampled is one place of the table.
type sampled struct {
	key        sourceKey
	period     uint32 // period of samples and score
	samples    uint16
	oldSamples uint16 // in the previous period
	score      float32
	oldScore   float32
	last       uint32 // clock at the last sample
	about      seen
}

func newCandidates(seed uint64) candidates {
	// Both are odd, and they differ, for every seed.
	mixed := seed*0x9e3779b97f4a7c15 ^ 0xd1b54a32d192ed03
	return candidates{seeds: [2]uint64{seed | 1, mixed | 1}, table: make([]sampled, sets*ways)}
}

func (c *candidates) hash(k sourceKey) uint64 {
	h := fold(k.high^c.seeds[0], k.low^c.seeds[1])
	return fold(h^uint64(k.bits), c.seeds[1])
}

func fold(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// of returns the place of k in the given period, and makes one if there is none.
func (c *candidates) of(k sourceKey, period uint32) *sampled {
	first := int(c.hash(k)%sets) * ways
	set := c.table[first : first+ways]
	c.clock++
	worst := &set[0]
	for n := range set {
		s := &set[n]
		s.age(period)
		if s.key == k {
			s.last = c.clock
			return s
		}
		if s.worth(c.clock) < worst.worth(c.clock) {
			worst = s
		}
	}
	*worst = sampled{key: k, period: period, last: c.clock}
	return worst
}

// age moves s to a period.
func (s *sampled) age(period uint32) {
	switch period - s.period {
	case 0:
		return
	case 1:
		s.oldSamples, s.oldScore = s.samples, s.score
	default:
		s.oldSamples, s.oldScore = 0, 0
	}
	s.period, s.samples, s.score = period, 0, 0
}

// worth orders places by the number of samples, then by the time of the last one.
func (s *sampled) worth(clock uint32) int64 {
	return int64(s.samples+s.oldSamples)<<32 - int64(clock-s.last)
}
