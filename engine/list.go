package engine

import (
	"fmt"
	"io"
	"iter"
	"math"
	"net/netip"
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

	lines    lines
	reasons  []string // that lines have; the first is the empty one
	forced   map[netip.Prefix]bool
	bad      int // all invalid lines
	masked   int
	repeated int
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
		l.lines.add(line{
			prefix: read.Prefix, number: uint32(read.Number), lasts: lifetime(read.For),
			reason: l.number(numbers, read.Reason),
		})
		if l.lines.count() > 2*most {
			l.repeated += l.lines.compact()
		}
		return l.lines.count() <= 2*most && len(l.reasons) <= policy.MaxListReasons+1
	})
	if err != nil {
		return nil, fmt.Errorf("nothing was changed: %w", err)
	}
	if len(l.reasons) > policy.MaxListReasons+1 {
		return nil, TooLargeError(fmt.Sprintf("nothing was changed: the lines of the list have more than %d different "+
			"reasons: leave some of them out", policy.MaxListReasons))
	}
	if l.repeated += l.lines.compact(); l.lines.count() > most {
		return nil, fmt.Errorf("the list has more than %d different prefixes: %w", most, ErrFull)
	}
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

// Filter keeps the prefixes for which keep returns true. If it also returns forced,
// the entry of the prefix overrides the guard.
func (l *List) Filter(keep func(p netip.Prefix, number int) (keep, forced bool)) {
	l.lines.filter(func(x line) bool {
		kept, forced := keep(x.prefix, int(x.number))
		if forced {
			l.forced[x.prefix] = true
		}
		return kept
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
	e.Prefix = x.prefix
	e.Forced = len(l.forced) > 0 && l.forced[e.Prefix]
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
func (l *List) Shorten(longest time.Duration) { l.lines.shorten(lifetime(longest)) }

// Longest returns how long the line lasts that lasts longest, of a list whose lines last whole
// at most.
func (l *List) Longest(whole time.Duration) time.Duration {
	longest := time.Duration(0)
	for _, x := range l.lines.all() {
		if x.lasts == notSaid || x.lasts == lastsForever {
			return whole
		}
		longest = max(longest, time.Duration(x.lasts)*time.Second)
	}
	return min(longest, whole)
}

// Len returns the number of prefixes.
func (l *List) Len() int { return l.lines.count() }

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
	for _, x := range l.lines.all() {
		p := x.prefix
		if policy.FamilyOf(p.Addr()) != f || !p.Overlaps(internet) || last.IsValid() && last.Contains(p.Addr()) {
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
		for _, x := range l.lines.all() {
			if !yield(x.prefix) {
				return
			}
		}
	}
}
