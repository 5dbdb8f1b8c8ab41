package daemon

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// wanted is what a list asks for.
type wanted struct {
	lines   []wantedLine // by ascending prefix, each prefix once
	forced  map[netip.Prefix]bool
	invalid []control.InvalidLine
	bad     int // invalid lines, named or not
	masked  int
	double  int
}

// wantedLine is a line of a list. It has no pointer, as netip.Prefix has, and
// is little more than half as large: there may be millions.
type wantedLine struct {
	high, low uint64 // the address, IPv4 mapped to IPv6
	line      uint32
	family    policy.Family
	bits      uint8
}

func newWantedLine(p netip.Prefix, number int) wantedLine {
	a := p.Addr().As16()
	return wantedLine{
		high:   binary.BigEndian.Uint64(a[:8]),
		low:    binary.BigEndian.Uint64(a[8:]),
		line:   uint32(number),
		family: policy.FamilyOf(p.Addr()),
		bits:   uint8(p.Bits()),
	}
}

func (l wantedLine) prefix() netip.Prefix {
	var a [16]byte
	binary.BigEndian.PutUint64(a[:8], l.high)
	binary.BigEndian.PutUint64(a[8:], l.low)
	addr := netip.AddrFrom16(a)
	if l.family == policy.IPv4 {
		addr = addr.Unmap()
	}
	return netip.PrefixFrom(addr, int(l.bits))
}

// comparePrefix orders lines as the store and the book have their prefixes: by
// family, address and length. It spares a sort of a million what it can.
func (l wantedLine) comparePrefix(o wantedLine) int {
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

// readWanted reads a list of at most so many prefixes. However long it is and however
// often it repeats itself, no more than twice as many are held.
func readWanted(list io.Reader, most int, progress func(control.ImportProgress)) (*wanted, error) {
	w := &wanted{forced: make(map[netip.Prefix]bool)}
	err := policy.ReadList(list, func(l policy.ListLine) bool {
		if l.Number%importChunk == 0 {
			progress(control.ImportProgress{Read: l.Number})
		}
		if l.Err != nil {
			if w.bad++; w.bad <= mostListed {
				w.invalid = append(w.invalid, control.InvalidLine{Line: l.Number, Message: l.Err.Error()})
			}
			return true
		}
		if l.Masked {
			w.masked++
		}
		w.lines = append(w.lines, newWantedLine(l.Prefix, l.Number))
		if len(w.lines) > 2*most {
			w.compact()
		}
		return len(w.lines) <= 2*most
	})
	if err != nil {
		return nil, fmt.Errorf("nothing was changed: %w", err)
	}
	if w.compact(); len(w.lines) > most {
		return nil, fmt.Errorf("the list has more than %d different prefixes: %w", most, errFull)
	}
	// Without the room to grow: the list stays until all of it is in the book.
	w.lines = slices.Clone(w.lines)
	return w, nil
}

// compact sorts the lines and leaves the first of those that have the same prefix.
func (w *wanted) compact() {
	slices.SortFunc(w.lines, func(x, y wantedLine) int {
		if c := x.comparePrefix(y); c != 0 {
			return c
		}
		return cmp.Compare(x.line, y.line)
	})
	all := len(w.lines)
	w.lines = slices.CompactFunc(w.lines, func(x, y wantedLine) bool { return x.comparePrefix(y) == 0 })
	w.double += all - len(w.lines)
}

func (w *wanted) notes() []string {
	var notes []string
	if w.masked > 0 {
		notes = append(notes, fmt.Sprintf("%d prefixes had host bits set, which were cleared", w.masked))
	}
	if w.double > 0 {
		notes = append(notes, fmt.Sprintf("%d lines repeat a prefix of another", w.double))
	}
	if w.bad > len(w.invalid) {
		notes = append(notes, fmt.Sprintf("%d lines are invalid, the first %d are listed", w.bad, len(w.invalid)))
	}
	return notes
}
