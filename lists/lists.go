// Package lists reads block lists and lists of networks in the formats that people
// publish and programs write. A line is understood as a whole, or it is an error.
// Host names are errors and are never resolved.
package lists

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/paraxial/paraxial/policy"
)

// Bounds of what is read.
const (
	MaxText     = 256 << 20 // bytes of text, after decompression
	MaxPrefixes = 4 << 20   // prefixes of one list
	MaxListed   = 1000      // invalid lines that are kept; all are counted

	maxLine   = 16 << 20 // bytes of a line: a jail of fail2ban is one line
	maxJSON   = 64 << 20 // bytes of a JSON document
	maxNodes  = 2 << 20  // values of a JSON document
	maxDepth  = 32       // nested values of a JSON document
	maxReason = 128      // bytes of a reason
	maxNames  = 64       // names of columns or sets that an error lists
)

// Entry is a prefix of a list.
type Entry struct {
	Prefix netip.Prefix
	Line   int       // of the text, from 1
	Until  time.Time // zero: the list gives no expiry
	Reason string    // as the list gives it; may be empty
}

// Invalid is a line that is not understood.
type Invalid struct {
	Line int
	Err  error
}

// List is the content of a list.
type List struct {
	Format  string // name of the format
	Title   string // its name for people
	Packing string // "gzip", "UTF-16" and so on; empty if none

	Entries []Entry
	Invalid []Invalid // the first MaxListed invalid lines
	Bad     int       // all invalid lines
	Lines   int       // lines of the text
	Masked  int       // prefixes whose host bits were cleared
	Ended   int       // entries left out because they have expired
	Left    int       // records left out because Select does not match them
	Exempt  int       // exemptions that the list has

	parts [][]Entry // what Each gives
}

// Len returns the number of entries that Each gives.
func (l *List) Len() int {
	n := len(l.Entries)
	for _, p := range l.parts {
		n += len(p)
	}
	return n
}

// Each gives all entries, once. It frees the memory of those that it has given.
func (l *List) Each() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		parts := append(l.parts, l.Entries)
		l.parts, l.Entries = nil, nil
		for n, part := range parts {
			for _, e := range part {
				if !yield(e) {
					return
				}
			}
			parts[n] = nil
		}
	}
}

// Options tell how to read a list.
type Options struct {
	Format string // name of a format; empty: it is recognised
	Column string // name or number of the column of a table
	Select []Condition
	Now    time.Time

	// MaxPrefixes is the most prefixes that are read; 0 is the constant of that name.
	MaxPrefixes int
	// Parts leaves List.Entries empty. Each gives the entries, and needs half of the memory.
	Parts bool
}

func (o Options) maxPrefixes() int {
	if o.MaxPrefixes > 0 {
		return min(o.MaxPrefixes, MaxPrefixes)
	}
	return MaxPrefixes
}

// Read reads a list. It returns an error if the whole input is not a list, or if there
// is no prefix in it. A line that is not understood is in List.Invalid.
func Read(r io.Reader, opts Options) (*List, error) {
	text, packing, err := unpack(r)
	if err != nil {
		return nil, err
	}
	s, err := takeSample(text)
	if err != nil {
		return nil, err
	}
	f, err := choose(s, opts)
	if err != nil {
		return nil, err
	}
	out := newSink(opts)
	out.list.Format, out.list.Title, out.list.Packing = f.name, f.title, packing
	p := f.open(out)
	if len(opts.Select) > 0 && !f.selects {
		return nil, fmt.Errorf("%s has no columns: --select needs a table or a list of a cloud", f.title)
	}
	if opts.Column != "" && !f.columns {
		return nil, fmt.Errorf("%s has no columns: leave out --column, or choose --format csv", f.title)
	}
	out.list.Lines, err = eachLine(s.rest(text), p.line)
	if err == nil {
		err = p.end()
	}
	if err == nil {
		err = out.finish()
	}
	if err != nil {
		return nil, err
	}
	return &out.list, nil
}

// A parser reads the lines of one format. An error ends the reading: the text is not
// what the format says. A bad line is not such an error.
type parser interface {
	line(number int, text string) error
	end() error
}

// lineParser is a parser without state.
type lineParser func(number int, text string) error

func (p lineParser) line(number int, text string) error { return p(number, text) }
func (lineParser) end() error                           { return nil }

// rule tells which of an entry and an exemption counts.
type rule byte

const (
	firstCounts    rule = iota // the one that comes first
	narrowerCounts             // the narrower one
)

// sink collects what a parser finds.
type sink struct {
	list  List
	now   time.Time
	where selection
	most  int  // prefixes
	parts bool // see Options.Parts

	reasons map[string]string // those read, so that equal ones share their memory
	badLine int               // the last one
	full    [][]Entry         // parts of the list before List.Entries
	rule    rule
	exempt  []Entry
}

func newSink(opts Options) *sink {
	return &sink{
		reasons: make(map[string]string), now: opts.Now, where: selection{conditions: opts.Select},
		most: opts.maxPrefixes(), parts: opts.Parts,
	}
}

// details are what a line says of its prefixes.
type details struct {
	until  time.Time
	reason string
}

// ErrTooMany is the error of a list with more than MaxPrefixes prefixes.
var ErrTooMany = tooMany(MaxPrefixes)

func tooMany(most int) error {
	return fmt.Errorf("the list has more than %d prefixes, the most that are read", most)
}

// add adds the prefixes of a value.
func (o *sink) add(line int, v value, d details) error {
	if v.masked {
		o.list.Masked++
	}
	if !d.until.IsZero() && !d.until.After(o.now) {
		o.list.Ended++
		return nil
	}
	reason := o.reason(d.reason)
	for _, p := range v.prefixes {
		if err := o.keep(Entry{Prefix: p, Line: line, Until: d.until, Reason: reason}); err != nil {
			return err
		}
	}
	return nil
}

// keep stores an entry. Full parts are put together at the end, so that they are copied
// only once.
func (o *sink) keep(e Entry) error {
	const part = 1 << 16
	l := &o.list
	if len(o.full)*part+len(l.Entries) >= o.most {
		return o.tooMany()
	}
	if len(l.Entries) == part {
		o.full = append(o.full, l.Entries)
		l.Entries = make([]Entry, 0, part)
	}
	l.Entries = append(l.Entries, e)
	return nil
}

func (o *sink) tooMany() error {
	if o.most == MaxPrefixes {
		return ErrTooMany
	}
	return tooMany(o.most)
}

// text adds the prefixes that s stands for, or a bad line.
func (o *sink) text(line int, s string, d details) error {
	v, err := parseValue(s)
	if err != nil {
		o.bad(line, err)
		return nil
	}
	return o.add(line, v, d)
}

// except adds an exemption.
func (o *sink) except(line int, v value) error {
	o.list.Exempt++
	for _, p := range v.prefixes {
		if len(o.exempt) >= MaxPrefixes {
			return ErrTooMany
		}
		o.exempt = append(o.exempt, Entry{Prefix: p, Line: line})
	}
	return nil
}

// bad counts a line that is not understood. A line counts once.
func (o *sink) bad(line int, err error) {
	if line == o.badLine {
		return
	}
	l := &o.list
	o.badLine = line
	if l.Bad++; len(l.Invalid) < MaxListed {
		l.Invalid = append(l.Invalid, Invalid{line, err})
	}
}

func (o *sink) badf(line int, format string, args ...any) { o.bad(line, fmt.Errorf(format, args...)) }

// ErrEmpty is the error of a list without a prefix.
var ErrEmpty = errors.New("there is no prefix in it: an empty list would lift all blocks of its origin")

func (o *sink) finish() error {
	if o.parts && len(o.exempt) == 0 {
		o.list.parts, o.full = o.full, nil
	} else if len(o.full) > 0 {
		o.list.Entries, o.full = slices.Concat(append(o.full, o.list.Entries)...), nil
	}
	if err := o.where.check(); err != nil {
		return err
	}
	if err := o.exemptAll(); err != nil {
		return err
	}
	l := &o.list
	slices.SortStableFunc(l.Invalid, func(x, y Invalid) int { return x.Line - y.Line })
	switch {
	case l.Len() > 0 || l.Bad > 0:
		return nil
	case l.Left > 0:
		return fmt.Errorf("none of its %d records matches --select: %w", l.Left, ErrEmpty)
	case l.Ended > 0:
		return fmt.Errorf("all of its %d entries have expired: %w", l.Ended, ErrEmpty)
	case l.Exempt > 0:
		return fmt.Errorf("its exemptions leave nothing: %w", ErrEmpty)
	}
	return ErrEmpty
}

// reason returns a reason on one line, bounded, without hidden characters, and without a
// reference to a larger text.
func (o *sink) reason(s string) string {
	if s == "" {
		return ""
	}
	if known, ok := o.reasons[s]; ok {
		return known
	}
	short := shortReason(s)
	if len(o.reasons) <= policy.MaxListReasons && len(s) <= maxReason {
		o.reasons[short] = short
	}
	return short
}

func shortReason(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || policy.IsHidden(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "")
	}
	return strings.Clone(s)
}
