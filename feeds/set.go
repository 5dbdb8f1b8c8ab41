package feeds

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/paraxial/paraxial/lists"
)

// Bounds of what is not understood in a list. One bad line must not end a subscription,
// but a list that has changed its format must not shrink to the lines that are left.
const (
	badLines   = 10
	badShare   = 100 // one in so many
	maxReasons = 1 << 16
)

// item is an entry. A million of them take 32 MiB.
type item struct {
	hi, lo uint64 // the address; of IPv4 as mapped to IPv6
	until  uint32 // Unix time; 0 if it has no end of its own
	reason uint32 // index of set.reasons
	bits   uint8
	v4     bool
}

func (i item) prefix() netip.Prefix {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], i.hi)
	binary.BigEndian.PutUint64(b[8:], i.lo)
	a := netip.AddrFrom16(b)
	if i.v4 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, int(i.bits))
}

func compareItems(x, y item) int {
	if x.v4 != y.v4 {
		if x.v4 {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(x.hi, y.hi), cmp.Compare(x.lo, y.lo), cmp.Compare(x.bits, y.bits))
}

// set is the content of a list: sorted, each prefix once.
type set struct {
	items   []item
	reasons []string
	index   map[string]uint32
	timed   bool // an entry has an end of its own
	format  string
	notes   []string
}

// readSet reads a list.
func readSet(r io.Reader, f Feed, b body, now time.Time) (*set, error) {
	opts := lists.Options{Format: f.Format, Column: f.Column, Now: now, MaxPrefixes: f.MaxEntries, Parts: true}
	if f.Select != "" {
		var err error
		if opts.Select, err = lists.ParseSelect(f.Select); err != nil {
			return nil, fmt.Errorf("select: %w", err)
		}
	}
	l, err := lists.Read(r, opts)
	if errors.Is(err, lists.ErrEmpty) {
		return nil, errors.New("the list is empty or has only comments")
	}
	if err != nil {
		return nil, err
	}
	if err := checkList(l, b); err != nil {
		return nil, err
	}
	return newSet(l, f.own())
}

// checkList refuses a list of which too much is not understood, or that may be cut.
func checkList(l *lists.List, b body) error {
	switch n := l.Len(); {
	case n == 0:
		return fmt.Errorf("none of %d lines is understood; line %d: %w", l.Lines, l.Invalid[0].Line, l.Invalid[0].Err)
	case l.Bad > badLines && l.Bad > l.Lines/badShare:
		return fmt.Errorf("%d of %d lines are not understood; line %d: %w", l.Bad, l.Lines, l.Invalid[0].Line,
			l.Invalid[0].Err)
	case b.unframed && l.Packing == "" && b.last != '\n' && b.last != '\r' && b.last != '}' && b.last != ']':
		return errors.New("the answer may be cut off: the server gives no length, and the last line has no end")
	}
	return nil
}

// newSet sorts the entries. If the list is not the user's own, it leaves out addresses that
// it cannot mean.
func newSet(l *lists.List, own bool) (*set, error) {
	s := &set{items: make([]item, 0, l.Len()), reasons: []string{""}, index: map[string]uint32{"": 0}, format: l.Title}
	nets, left := special(), 0
	for e := range l.Each() {
		if isSpecial(e.Prefix, nets) && (!own || e.Prefix.Bits() == 0) {
			left++
			continue
		}
		s.add(e)
	}
	if len(s.items) == 0 {
		return nil, fmt.Errorf("all %d prefixes of the list are private or reserved", left)
	}
	s.index = nil
	s.sort()
	s.note(left, "private or reserved")
	s.note(l.Bad, "not understood")
	s.note(l.Ended, "expired")
	s.note(l.Exempt, "exempt")
	return s, nil
}

func (s *set) note(n int, what string) {
	if n > 0 {
		s.notes = append(s.notes, fmt.Sprintf("%d %s", n, what))
	}
}

func (s *set) add(e lists.Entry) {
	b := e.Prefix.Addr().As16()
	i := item{
		hi: binary.BigEndian.Uint64(b[:8]), lo: binary.BigEndian.Uint64(b[8:]),
		bits: uint8(e.Prefix.Bits()), v4: e.Prefix.Addr().Is4(),
	}
	if !e.Until.IsZero() {
		i.until = uint32(min(max(e.Until.Unix(), 1), math.MaxUint32))
		s.timed = true
	}
	at, ok := s.index[e.Reason]
	if !ok && len(s.reasons) < maxReasons {
		at = uint32(len(s.reasons))
		s.reasons = append(s.reasons, e.Reason)
		s.index[e.Reason] = at
	}
	i.reason = at
	s.items = append(s.items, i)
}

// sort sorts the items, and of equal prefixes keeps the one that stays longest.
func (s *set) sort() {
	slices.SortFunc(s.items, func(x, y item) int {
		return cmp.Or(compareItems(x, y), -cmp.Compare(x.until-1, y.until-1)) // 0 wraps around to the last
	})
	s.items = slices.CompactFunc(s.items, func(x, y item) bool { return compareItems(x, y) == 0 })
}

// shares returns the parts of IPv4, and of 2000::/3 of IPv6, that the set covers.
func (s *set) shares() (v4, v6 float64) {
	var last netip.Prefix
	for _, i := range s.items {
		p := i.prefix()
		if last.IsValid() && last.Overlaps(p) {
			continue // wider prefixes come first
		}
		last = p
		if i.v4 {
			v4 += math.Ldexp(1, -int(i.bits))
		} else {
			v6 += math.Ldexp(1, 3-int(i.bits))
		}
	}
	return v4, v6
}

// write writes one line for each entry, as readLine reads it.
func (s *set) write(w io.Writer) error {
	bw := bufio.NewWriter(w)
	var line []byte
	for _, i := range s.items {
		line = i.prefix().AppendTo(line[:0])
		if i.until > 0 {
			line = strconv.AppendUint(append(line, " until="...), uint64(i.until), 10)
		}
		if r := s.reasons[i.reason]; r != "" {
			line = append(append(line, " # "...), r...)
		}
		if _, err := bw.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return bw.Flush()
}
