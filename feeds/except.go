package feeds

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/paraxial/paraxial/report"
)

// exceptions are prefixes that a set leaves out: sorted, none inside another.
type exceptions []netip.Prefix

func newExceptions(all []netip.Prefix) exceptions {
	slices.SortFunc(all, comparePrefixes) // wider prefixes come first
	var x exceptions
	for _, p := range all {
		if len(x) == 0 || !x[len(x)-1].Overlaps(p) {
			x = append(x, p)
		}
	}
	return x
}

// from returns the number of the first exception whose address is not below a.
func (x exceptions) from(a netip.Addr) int {
	return sort.Search(len(x), func(i int) bool { return !x[i].Addr().Less(a) })
}

// covers reports whether an exception has all of p.
func (x exceptions) covers(p netip.Prefix) bool {
	at := x.from(p.Addr())
	has := func(i int) bool { return i >= 0 && i < len(x) && x[i].Bits() <= p.Bits() && x[i].Contains(p.Addr()) }
	return has(at) || has(at-1)
}

// overlaps reports whether an exception is inside p.
func (x exceptions) overlaps(p netip.Prefix) bool {
	at := x.from(p.Addr())
	return at < len(x) && p.Contains(x[at].Addr())
}

// without yields the prefixes that together have all of p but the exceptions.
func (x exceptions) without(p netip.Prefix, yield func(netip.Prefix) bool) bool {
	switch {
	case x.covers(p):
		return true
	case !x.overlaps(p):
		return yield(p)
	}
	low, high := halves(p)
	return x.without(low, yield) && x.without(high, yield)
}

// halves returns the halves of a prefix, which is not a single address.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits() + 1
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(p.Addr(), bits), netip.PrefixFrom(a, bits)
}

// leaveOut yields the entries without the exceptions, most at most. It counts the entries that
// it leaves out or splits.
func (x exceptions) leaveOut(
	list iter.Seq2[report.Entry, error], most int, changed *int,
) iter.Seq2[report.Entry, error] {
	if len(x) == 0 {
		return list
	}
	return func(yield func(report.Entry, error) bool) {
		n := 0
		*changed = 0
		for e, err := range list {
			if err != nil {
				yield(e, err)
				return
			}
			if x.covers(e.Prefix) || x.overlaps(e.Prefix) {
				*changed++
			}
			more := x.without(e.Prefix, func(p netip.Prefix) bool {
				if n++; n > most {
					yield(e, &exceptError{most})
					return false
				}
				e.Prefix = p
				return yield(e, nil)
			})
			if !more {
				return
			}
		}
	}
}

// exceptError is the error of a set that is too long without its exceptions.
type exceptError struct{ most int }

func (e *exceptError) Error() string {
	return fmt.Sprintf("without the prefixes of except it has more than %d entries; raise max_entries of the feed",
		e.most)
}

// exceptGenerations identifies what the feed leaves out: the generations of feeds, and a digest
// of other prefixes, as in "googlebot:3 bingbot:0 #1f2e…". Generation 0 is that of a feed that
// has not been fetched yet.
func (s *subscription) exceptGenerations() string {
	var all []string
	for _, name := range strings.Fields(s.feed.Except) {
		number := uint64(0)
		if other, ok := s.env.find(name); ok {
			number = other.record().Current
		}
		all = append(all, fmt.Sprintf("%s:%d", name, number))
	}
	if s.feed.Exempt != "" {
		all = append(all, fmt.Sprintf("#%x", sha256.Sum256([]byte(s.feed.Exempt))))
	}
	return strings.Join(all, " ")
}

// readExceptions reads the prefixes that the feed leaves out. A feed among them that has never
// been fetched is an error: its addresses must not be blocked until it is.
func (s *subscription) readExceptions() (exceptions, error) {
	var all []netip.Prefix
	for _, text := range strings.Fields(s.feed.Exempt) {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	for _, name := range strings.Fields(s.feed.Except) {
		other, ok := s.env.find(name)
		if !ok || other.record().Current == 0 {
			return nil, fmt.Errorf("it waits for the feed %s, which it leaves out and which has not been fetched yet",
				name)
		}
		for l, err := range readGeneration(other.dir, other.record().Current) {
			if err != nil {
				return nil, fmt.Errorf("read the exceptions of the feed %s: %w", name, err)
			}
			all = append(all, l.prefix)
		}
	}
	return newExceptions(all), nil
}

// outdated reports whether the set in force leaves out other addresses than it should.
func (s *subscription) outdated() bool {
	r := s.record()
	return r.Sent != 0 && r.Excepted != s.exceptGenerations()
}
