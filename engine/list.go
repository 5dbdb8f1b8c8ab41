package engine

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/paraxial/paraxial/policy"
)

// MostListed is how many invalid lines a List names.
const MostListed = 1000

// readEvery is the number of lines between two reports of progress.
const readEvery = 20_000

// List is a list of distinct prefixes, in the order of the book.
type List struct {
	Invalid []policy.ListLine // the first MostListed invalid lines

	lines    []line
	forced   map[netip.Prefix]bool
	bad      int // all invalid lines
	masked   int
	repeated int
}

// line is a line of a list. There may be millions, so it has no pointer, unlike
// netip.Prefix, and is little more than half as large.
type line struct {
	high, low uint64 // the address, IPv4 mapped to IPv6
	number    uint32
	family    policy.Family
	bits      uint8
}

func newLine(p netip.Prefix, number int) line {
	a := p.Addr().As16()
	return line{
		high:   binary.BigEndian.Uint64(a[:8]),
		low:    binary.BigEndian.Uint64(a[8:]),
		number: uint32(number),
		family: policy.FamilyOf(p.Addr()),
		bits:   uint8(p.Bits()),
	}
}

func (l line) prefix() netip.Prefix {
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], l.high)
	binary.BigEndian.PutUint64(a[8:], l.low)
	addr := netip.AddrFrom16(a)
	if l.family == policy.IPv4 {
		addr = addr.Unmap()
	}
	return netip.PrefixFrom(addr, int(l.bits))
}

// comparePrefix orders lines by family, address and length, as the store and the
// book order prefixes.
func (l line) comparePrefix(o line) int {
	switch {
	case l.family != o.family:
		return cmp.Compare(l.family, o.family)
	case l.high != o.high:
		return cmp.Compare(l.high, o.high)
	case l.low != o.low:
		return cmp.Compare(l.low, o.low)
	}
	return cmp.Compare(l.bits, o.bits)
}

// ReadList reads a list of at most most different prefixes. The error of a longer
// list wraps ErrFull. At most twice as many lines are in memory, however long the
// list is. progress receives the number of lines read so far.
func ReadList(r io.Reader, most int, progress func(read int)) (*List, error) {
	l := &List{forced: make(map[netip.Prefix]bool)}
	err := policy.ReadList(r, func(read policy.ListLine) bool {
		if read.Number%readEvery == 0 {
			progress(read.Number)
		}
		if read.Err != nil {
			if l.bad++; l.bad <= MostListed {
				l.Invalid = append(l.Invalid, read)
			}
			return true
		}
		if read.Masked {
			l.masked++
		}
		l.lines = append(l.lines, newLine(read.Prefix, read.Number))
		if len(l.lines) > 2*most {
			l.compact()
		}
		return len(l.lines) <= 2*most
	})
	if err != nil {
		return nil, fmt.Errorf("nothing was changed: %w", err)
	}
	if l.compact(); len(l.lines) > most {
		return nil, fmt.Errorf("the list has more than %d different prefixes: %w", most, ErrFull)
	}
	// The list stays in memory until all of it is in the book, so it is copied
	// without spare capacity.
	l.lines = slices.Clone(l.lines)
	return l, nil
}

// compact sorts the lines, and keeps the first line of each prefix.
func (l *List) compact() {
	slices.SortFunc(l.lines, func(x, y line) int {
		return cmp.Or(x.comparePrefix(y), cmp.Compare(x.number, y.number))
	})
	all := len(l.lines)
	l.lines = slices.CompactFunc(l.lines, func(x, y line) bool { return x.comparePrefix(y) == 0 })
	l.repeated += all - len(l.lines)
}

// Filter keeps the prefixes for which keep returns true. If it also returns forced,
// the entry of the prefix overrides the guard.
func (l *List) Filter(keep func(p netip.Prefix, number int) (keep, forced bool)) {
	l.lines = slices.DeleteFunc(l.lines, func(x line) bool {
		p := x.prefix()
		kept, forced := keep(p, int(x.number))
		if forced {
			l.forced[p] = true
		}
		return !kept
	})
}

// Notes describes the lines that were changed, merged or left out.
func (l *List) Notes() []string {
	var notes []string
	if l.masked > 0 {
		notes = append(notes, fmt.Sprintf("%d prefixes had host bits set, which were cleared", l.masked))
	}
	if l.repeated > 0 {
		notes = append(notes, fmt.Sprintf("%d lines repeat a prefix of another", l.repeated))
	}
	if l.bad > len(l.Invalid) {
		notes = append(notes, fmt.Sprintf("%d lines are invalid, the first %d are listed", l.bad, len(l.Invalid)))
	}
	return notes
}

func (l *List) has(p netip.Prefix) bool {
	_, ok := slices.BinarySearchFunc(l.lines, newLine(p, 0), line.comparePrefix)
	return ok
}
