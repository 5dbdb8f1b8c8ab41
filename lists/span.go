package lists

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// num is an address as a number. IPv4 addresses are below 2^32.
type num struct{ hi, lo uint64 }

func number(a netip.Addr) num {
	if a.Is4() {
		b := a.As4()
		return num{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return num{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (n num) addr(is4 bool) netip.Addr {
	if is4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(n.lo))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n.hi)
	binary.BigEndian.PutUint64(b[8:], n.lo)
	return netip.AddrFrom16(b)
}

func (n num) compare(o num) int { return cmp.Or(cmp.Compare(n.hi, o.hi), cmp.Compare(n.lo, o.lo)) }
func (n num) less(o num) bool   { return n.compare(o) < 0 }

// next returns n+1. It is 0 after the largest number.
func (n num) next() num {
	lo, carry := bits.Add64(n.lo, 1, 0)
	return num{n.hi + carry, lo}
}

func (n num) previous() num {
	lo, borrow := bits.Sub64(n.lo, 1, 0)
	return num{n.hi - borrow, lo}
}

// low returns a number whose lowest size bits are set.
func low(size int) num {
	switch {
	case size >= 128:
		return num{^uint64(0), ^uint64(0)}
	case size > 64:
		return num{1<<(size-64) - 1, ^uint64(0)}
	case size == 64:
		return num{0, ^uint64(0)}
	}
	return num{0, 1<<size - 1}
}

// span is a range of addresses of one family, with both ends.
type span struct{ first, last num }

func spanOf(p netip.Prefix) span {
	first := number(p.Addr())
	l := low(p.Addr().BitLen() - p.Bits())
	return span{first, num{first.hi | l.hi, first.lo | l.lo}}
}

// prefixes appends the fewest prefixes that cover s.
func (s span) prefixes(to []netip.Prefix, is4 bool) []netip.Prefix {
	width := 128
	if is4 {
		width = 32
	}
	for from := s.first; ; {
		size := bits.TrailingZeros64(from.lo)
		if from.lo == 0 {
			size = 64 + bits.TrailingZeros64(from.hi)
		}
		size = min(size, width)
		var end num
		for ; ; size-- {
			l := low(size)
			end = num{from.hi | l.hi, from.lo | l.lo}
			if !s.last.less(end) {
				break
			}
		}
		to = append(to, netip.PrefixFrom(from.addr(is4), width-size))
		if end == s.last {
			return to
		}
		from = end.next()
	}
}

// spans returns the prefixes of one family as sorted spans that neither overlap nor
// touch.
func spans(prefixes []netip.Prefix, is4 bool) []span {
	var all []span
	for _, p := range prefixes {
		if p.Addr().Is4() == is4 {
			all = append(all, spanOf(p))
		}
	}
	slices.SortFunc(all, func(x, y span) int { return x.first.compare(y.first) })
	merged := all[:0]
	for _, s := range all {
		if n := len(merged); n > 0 && !merged[n-1].separate(s) {
			if merged[n-1].last.less(s.last) {
				merged[n-1].last = s.last
			}
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// separate reports whether there are addresses between s and a later span.
func (s span) separate(later span) bool {
	after := s.last.next()
	return after != num{} && after.less(later.first)
}

// Aggregate returns the fewest prefixes that cover the same addresses.
func Aggregate(prefixes []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, is4 := range []bool{true, false} {
		for _, s := range spans(prefixes, is4) {
			out = s.prefixes(out, is4)
		}
	}
	return out
}

// without appends the parts of s that are not in any of the holes.
func (s span) without(holes []span, is4 bool) []netip.Prefix {
	var out []netip.Prefix
	slices.SortFunc(holes, func(x, y span) int { return x.first.compare(y.first) })
	from := s.first
	for _, h := range holes {
		if from.less(h.first) {
			out = span{from, h.first.previous()}.prefixes(out, is4)
		}
		if !h.last.less(s.last) {
			return out
		}
		if !h.last.less(from) {
			from = h.last.next()
		}
	}
	return span{from, s.last}.prefixes(out, is4)
}
