package engine

import (
	"cmp"
	"encoding/binary"
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// line is a line of a list.
type line struct {
	prefix netip.Prefix
	number uint32
	lasts  uint32 // seconds; see notSaid and lastsForever
	reason uint32 // number in List.reasons; 0 if the line does not say it
}

// The lifetimes of lines that are no seconds. An entry whose line does not say its
// lifetime has the lifetime of the import.
const (
	lastsForever = math.MaxUint32 - 1
	notSaid      = math.MaxUint32
)

// lifetime returns how long a line lasts. policy.MaxTTL is less than lastsForever.
func lifetime(ttl time.Duration) uint32 {
	switch ttl {
	case 0:
		return notSaid
	case policy.TTLForever:
		return lastsForever
	}
	return uint32(ttl / time.Second)
}

// lines are the lines of a list, in the order of the book: by family, address and
// length. There may be millions, so they are stored without pointers, and those of IPv4
// apart from the others, in 16 bytes each.
type lines struct {
	v4 packedLines[line4]
	v6 packedLines[line6]
}

// add adds a line. compact must be called before any other method but count.
func (l *lines) add(x line) {
	p := packed{number: x.number, lasts: x.lasts, rest: x.reason<<bitsOfLength | uint32(x.prefix.Bits())}
	if addr := x.prefix.Addr(); addr.Is4() {
		l.v4.add(line4{addr: low4(addr), packed: p})
	} else {
		high, low := halves(addr)
		l.v6.add(line6{high: high, low: low, packed: p})
	}
}

// count returns the number of lines.
func (l *lines) count() int { return l.v4.count() + l.v6.count() }

// compact sorts the lines, and keeps the line of each prefix that lasts longest, or the
// first of these. It returns the number of the others.
func (l *lines) compact() (repeated int) { return l.v4.compact() + l.v6.compact() }

// at returns the line with an index.
func (l *lines) at(i int) line {
	if n := len(l.v4.sorted); i >= n {
		return l.v6.sorted[i-n].line()
	}
	return l.v4.sorted[i].line()
}

// all yields all lines with their indices.
func (l *lines) all() iter.Seq2[int, line] {
	return func(yield func(int, line) bool) {
		for i := 0; i < l.count() && yield(i, l.at(i)); i++ {
		}
	}
}

// part is some lines that follow each other.
type part struct {
	of       *lines
	from, to int
}

// whole returns all lines.
func (l *lines) whole() part { return part{l, 0, l.count()} }

// chunks yields the lines in parts of n.
func (p part) chunks(n int) iter.Seq[part] {
	return func(yield func(part) bool) {
		for from := p.from; from < p.to && yield(part{p.of, from, min(from+n, p.to)}); from += n {
		}
	}
}

func (p part) all() iter.Seq[line] {
	return func(yield func(line) bool) {
		for i := p.from; i < p.to && yield(p.of.at(i)); i++ {
		}
	}
}

// find returns the index of the line of a prefix.
func (l *lines) find(p netip.Prefix) (at int, ok bool) {
	length := packed{rest: uint32(p.Bits())}
	if p.Addr().Is4() {
		return slices.BinarySearchFunc(l.v4.sorted, line4{low4(p.Addr()), length}, line4.comparePrefix)
	}
	high, low := halves(p.Addr())
	at, ok = slices.BinarySearchFunc(l.v6.sorted, line6{high, low, length}, line6.comparePrefix)
	return len(l.v4.sorted) + at, ok
}

func (l *lines) has(p netip.Prefix) bool {
	_, ok := l.find(p)
	return ok
}

// filter removes the lines for which keep returns false.
func (l *lines) filter(keep func(line) bool) {
	l.v4.sorted = slices.DeleteFunc(l.v4.sorted, func(x line4) bool { return !keep(x.line()) })
	l.v6.sorted = slices.DeleteFunc(l.v6.sorted, func(x line6) bool { return !keep(x.line()) })
}

// shorten makes the lines that last longer than most say no lifetime.
func (l *lines) shorten(most uint32) {
	for i := range l.v4.sorted {
		l.v4.sorted[i].shorten(most)
	}
	for i := range l.v6.sorted {
		l.v6.sorted[i].shorten(most)
	}
}

// packed is a line without its address.
type packed struct {
	number, lasts uint32
	rest          uint32 // reason and length of the prefix
}

// bitsOfLength are the low bits of packed.rest that have the length of the prefix. The others have
// the reason: policy.MaxListReasons needs 17.
const bitsOfLength = 8

func (p packed) details() packed { return p }

func (p packed) length() int { return int(p.rest & (1<<bitsOfLength - 1)) }

func (p *packed) shorten(most uint32) {
	if p.lasts > most {
		p.lasts = notSaid
	}
}

func (p packed) line(addr netip.Addr) line {
	return line{
		prefix: netip.PrefixFrom(addr, p.length()), number: p.number, lasts: p.lasts, reason: p.rest >> bitsOfLength,
	}
}

// line4 is a line with an IPv4 prefix.
type line4 struct {
	addr uint32
	packed
}

func low4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func (l line4) line() line {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], l.addr)
	return l.packed.line(netip.AddrFrom4(b))
}

func (l line4) comparePrefix(o line4) int {
	if l.addr != o.addr {
		return cmp.Compare(l.addr, o.addr)
	}
	return cmp.Compare(l.length(), o.length())
}

// line6 is a line with an IPv6 prefix.
type line6 struct {
	high, low uint64
	packed
}

func halves(a netip.Addr) (high, low uint64) {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

func (l line6) line() line {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], l.high)
	binary.BigEndian.PutUint64(b[8:], l.low)
	return l.packed.line(netip.AddrFrom16(b))
}

func (l line6) comparePrefix(o line6) int {
	switch {
	case l.high != o.high:
		return cmp.Compare(l.high, o.high)
	case l.low != o.low:
		return cmp.Compare(l.low, o.low)
	}
	return cmp.Compare(l.length(), o.length())
}

// packedLines are the lines of one family.
type packedLines[L packedLine[L]] struct {
	sorted []L
	parts  [][]L // further lines, which are not sorted; full but for the last
}

type packedLine[L any] interface {
	comparePrefix(L) int
	details() packed
}

// partSize is the capacity of a part. Parts need not be copied when the list grows.
const partSize = 1 << 14

func (p *packedLines[L]) add(l L) {
	last := len(p.parts) - 1
	if last < 0 || len(p.parts[last]) == partSize {
		var part []L // the only one of a short list grows as needed
		if last >= 0 {
			part = make([]L, 0, partSize)
		}
		p.parts = append(p.parts, part)
		last++
	}
	p.parts[last] = append(p.parts[last], l)
}

func (p *packedLines[L]) count() int {
	n := len(p.sorted)
	if last := len(p.parts) - 1; last >= 0 {
		n += last*partSize + len(p.parts[last])
	}
	return n
}

func (p *packedLines[L]) compact() (repeated int) {
	if len(p.parts) == 0 {
		return 0
	}
	all := p.count()
	p.sorted = slices.Concat(append([][]L{p.sorted}, p.parts...)...)
	p.parts = nil
	slices.SortFunc(p.sorted, func(x, y L) int {
		if c := x.comparePrefix(y); c != 0 {
			return c
		}
		a, b := x.details(), y.details()
		return cmp.Or(cmp.Compare(b.lasts, a.lasts), cmp.Compare(a.number, b.number))
	})
	p.sorted = slices.CompactFunc(p.sorted, func(x, y L) bool { return x.comparePrefix(y) == 0 })
	return all - len(p.sorted)
}
