package engine

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// MostListed is how many invalid lines a List names.
const MostListed = 1000

// TooLargeError is the error of a list that is over a bound other than that of its
// length.
type TooLargeError string

func (e TooLargeError) Error() string { return string(e) }

// readEvery is the number of lines between two reports of progress.
const readEvery = 20_000

// List is a list of distinct prefixes, in the order of the book.
type List struct {
	Invalid []policy.ListLine // the first MostListed invalid lines

	lines    []line
	reasons  []string // that lines have; the first is the empty one
	forced   map[netip.Prefix]bool
	bad      int // all invalid lines
	masked   int
	repeated int
}

// line is a line of a list. There may be millions, so it has no pointer, unlike
// netip.Prefix, and is not larger.
type line struct {
	high, low uint64 // the address, IPv4 mapped to IPv6
	number    uint32
	lasts     uint32 // seconds; see notSaid and lastsForever
	reason    uint32 // number in List.reasons; 0 if the line does not say it
	family    policy.Family
	bits      uint8
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

func newLine(p netip.Prefix, number int) line {
	a := p.Addr().As16()
	return line{
		high:   binary.BigEndian.Uint64(a[:8]),
		low:    binary.BigEndian.Uint64(a[8:]),
		number: uint32(number),
		lasts:  notSaid,
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
//
// Of several lines with the same prefix the one that lasts longest counts. A line that
// does not say its lifetime counts before all others.
func ReadList(r io.Reader, most int, progress func(read int)) (*List, error) {
	l := &List{reasons: []string{""}, forced: make(map[netip.Prefix]bool)}
	numbers := map[string]uint32{"": 0}
	err := policy.ReadDetailedList(r, func(read policy.ListLine) bool {
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
		x := newLine(read.Prefix, read.Number)
		x.lasts, x.reason = lifetime(read.For), l.number(numbers, read.Reason)
		l.lines = append(l.lines, x)
		if len(l.lines) > 2*most {
			l.compact()
		}
		return len(l.lines) <= 2*most && len(l.reasons) <= policy.MaxListReasons+1
	})
	if err != nil {
		return nil, fmt.Errorf("nothing was changed: %w", err)
	}
	if len(l.reasons) > policy.MaxListReasons+1 {
		return nil, TooLargeError(fmt.Sprintf("nothing was changed: the lines of the list have more than %d different "+
			"reasons: leave some of them out", policy.MaxListReasons))
	}
	if l.compact(); len(l.lines) > most {
		return nil, fmt.Errorf("the list has more than %d different prefixes: %w", most, ErrFull)
	}
	// The list stays in memory until all of it is in the book, so it is copied
	// without spare capacity.
	l.lines = slices.Clone(l.lines)
	return l, nil
}

// number returns the number of a reason in l.reasons.
func (l *List) number(numbers map[string]uint32, reason string) uint32 {
	n, known := numbers[reason]
	if !known {
		n = uint32(len(l.reasons))
		l.reasons, numbers[reason] = append(l.reasons, reason), n
	}
	return n
}

// compact sorts the lines, and keeps the line of each prefix that lasts longest, or the
// first of these.
func (l *List) compact() {
	slices.SortFunc(l.lines, func(x, y line) int {
		if c := x.comparePrefix(y); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(y.lasts, x.lasts), cmp.Compare(x.number, y.number))
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
		notes = append(notes, fmt.Sprintf("host bits were cleared in %d of the lines", l.masked))
	}
	if l.repeated > 0 {
		notes = append(notes, fmt.Sprintf("%d of the lines repeat a prefix of another", l.repeated))
	}
	if l.bad > len(l.Invalid) {
		const format = "%d of the lines are invalid, the first %d are listed"
		notes = append(notes, fmt.Sprintf(format, l.bad, len(l.Invalid)))
	}
	return notes
}

// entry returns the entry of a line: that of the import, with the details of the line.
func (l *List) entry(x line, e policy.Entry, now policy.Deadline) policy.Entry {
	e.Prefix = x.prefix()
	e.Forced = l.forced[e.Prefix]
	switch x.lasts {
	case notSaid:
	case lastsForever:
		e.Deadline = policy.Forever
	default:
		e.Deadline = policy.After(now, time.Duration(x.lasts)*time.Second)
	}
	if x.reason != 0 {
		e.Reason = l.reasons[x.reason]
	}
	return e
}

// Shorten gives the lifetime of the import to lines that last longer than longest.
func (l *List) Shorten(longest time.Duration) {
	most := lifetime(longest)
	for i := range l.lines {
		if l.lines[i].lasts > most {
			l.lines[i].lasts = notSaid
		}
	}
}

// Longest returns how long the line lasts that lasts longest, of a list whose lines last whole
// at most.
func (l *List) Longest(whole time.Duration) time.Duration {
	longest := time.Duration(0)
	for _, x := range l.lines {
		if x.lasts == notSaid || x.lasts == lastsForever {
			return whole
		}
		longest = max(longest, time.Duration(x.lasts)*time.Second)
	}
	return min(longest, whole)
}

// Len returns the number of prefixes.
func (l *List) Len() int { return len(l.lines) }

// internetBits is the length of 2000::/3, which has all IPv6 addresses of the Internet.
const internetBits = 3

// Share returns the part of the addresses of a family that the prefixes cover, from 0
// to 1. For IPv6 it is the part of 2000::/3.
func (l *List) Share(f policy.Family) float64 {
	internet := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20}), internetBits)
	if f == policy.IPv4 {
		internet = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	share := 0.0
	var last netip.Prefix // the order of the lines puts it before the prefixes inside it
	for _, x := range l.lines {
		p := x.prefix()
		if x.family != f || !p.Overlaps(internet) || last.IsValid() && last.Contains(p.Addr()) {
			continue
		}
		last = p
		share += math.Exp2(-float64(max(p.Bits()-internet.Bits(), 0)))
	}
	return min(share, 1)
}

// Prefixes yields the prefixes in order.
func (l *List) Prefixes() iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for _, x := range l.lines {
			if !yield(x.prefix()) {
				return
			}
		}
	}
}

func (l *List) has(p netip.Prefix) bool {
	_, ok := l.find(p)
	return ok
}

// find returns the index of the line of a prefix.
func (l *List) find(p netip.Prefix) (at int, ok bool) {
	return slices.BinarySearchFunc(l.lines, newLine(p, 0), line.comparePrefix)
}
