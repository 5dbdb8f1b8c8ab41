package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/lists"
	"github.com/paraxial/paraxial/policy"
)

// readList reads the list called name. This happens here and not in the daemon, which
// gets prefixes only.
func (p *program) readList(c *cli.Context, name string) (*lists.List, error) {
	opts := lists.Options{Format: c.String("format"), Column: c.String("column"), Now: p.now()}
	if c.IsSet("select") {
		var err error
		if opts.Select, err = lists.ParseSelect(c.String("select")); err != nil {
			return nil, misuse(c, "--select: %v", err)
		}
	}
	r, done, err := p.openList(name)
	if err != nil {
		return nil, err
	}
	list, err := readOrStop(c.Context, r, done, opts)
	if errors.Is(err, lists.ErrEmpty) {
		return nil, fmt.Errorf("%s: nothing was changed: %w; to remove them, use paraxialctl flush --origin NAME",
			shownName(name), err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: nothing was changed: %w", shownName(name), err)
	}
	return list, nil
}

// readOrStop reads a list until ctx is done. A read of a pipe can not be interrupted, so
// it may go on until the program ends.
func readOrStop(ctx context.Context, r io.Reader, done func(), opts lists.Options) (*lists.List, error) {
	type answer struct {
		list *lists.List
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		defer done()
		list, err := lists.Read(r, opts)
		answers <- answer{list, err}
	}()
	select {
	case a := <-answers:
		return a.list, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// openList opens a list. It rejects a file that cannot be a list before it is read.
func (p *program) openList(name string) (list io.Reader, done func(), err error) {
	if name == "-" {
		return p.stdin, func() {}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory; name a file in it", name)
	}
	if err == nil && info.Size() > control.MaxList {
		err = fmt.Errorf("%s is %s bytes long, at most %s are accepted",
			name, count(uint64(info.Size())), count(control.MaxList))
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, func() { f.Close() }, nil
}

// canonical is a list as the daemon reads it: one prefix a line, with its details.
type canonical struct {
	entries []lists.Entry
	now     time.Time
	line    []byte
}

// next returns the line of the first entry.
func (r *canonical) next() []byte {
	e := r.entries[0]
	line := e.Prefix.AppendTo(r.line[:0])
	if !e.Until.IsZero() {
		line = append(line, " for="...)
		line = append(line, lifetime(e.Until.Sub(r.now))...)
	}
	if e.Reason != "" {
		line = append(append(line, " reason="...), url.QueryEscape(e.Reason)...)
	}
	return append(line, '\n')
}

// lifetime writes a duration as policy.ParseTTL reads it.
func lifetime(d time.Duration) string {
	if d > policy.MaxTTL {
		return policy.FormatTTL(policy.TTLForever)
	}
	return strconv.FormatInt(int64(max(d+time.Second-1, time.Second)/time.Second), 10) + "s"
}

func (r *canonical) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		if len(r.line) == 0 {
			if len(r.entries) == 0 {
				break
			}
			r.line = r.next()
			r.entries = r.entries[1:]
		}
		copied := copy(b[n:], r.line)
		r.line = r.line[copied:]
		n += copied
	}
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// originalLines replaces line numbers of what was sent by those of the file, and adds
// the lines that were not sent.
func originalLines(list *lists.List, r *control.ImportResult) {
	original := func(sent int) int {
		if sent < 1 || sent > len(list.Entries) {
			return sent
		}
		return list.Entries[sent-1].Line
	}
	for i := range r.Refused {
		r.Refused[i].Line = original(r.Refused[i].Line)
	}
	for i := range r.Spared {
		r.Spared[i].Line = original(r.Spared[i].Line)
	}
	r.Invalid = append(invalidLines(list), r.Invalid...)
}

func invalidLines(list *lists.List) []control.InvalidLine {
	var all []control.InvalidLine
	for _, l := range list.Invalid {
		all = append(all, control.InvalidLine{Line: l.Line, Message: l.Err.Error()})
	}
	return all
}

// aggregateList merges the entries that last equally long and have the same reason. A
// merged entry has the line of its first part.
func aggregateList(list *lists.List) {
	type details struct {
		until  time.Time
		reason string
	}
	parts := make(map[details][]lists.Entry)
	var order []details
	for _, e := range list.Entries {
		d := details{e.Until, e.Reason}
		if parts[d] == nil {
			order = append(order, d)
		}
		parts[d] = append(parts[d], e)
	}
	list.Entries = nil
	for _, d := range order {
		list.Entries = append(list.Entries, aggregated(parts[d])...)
	}
}

// aggregated merges entries with the same details.
func aggregated(entries []lists.Entry) (merged []lists.Entry) {
	slices.SortFunc(entries, func(x, y lists.Entry) int { return x.Prefix.Addr().Compare(y.Prefix.Addr()) })
	at := 0
	for _, prefix := range lists.Aggregate(prefixesOf(entries)) {
		for entries[at].Prefix.Addr().Less(prefix.Addr()) {
			at++
		}
		e := entries[at]
		e.Prefix = prefix
		merged = append(merged, e)
	}
	return merged
}

func prefixesOf(entries []lists.Entry) []netip.Prefix {
	all := make([]netip.Prefix, len(entries))
	for i, e := range entries {
		all[i] = e.Prefix
	}
	return all
}

// useDetails removes the expiry and the reason of each entry if the user gives one for
// all. The notes tell of the others.
func (p *program) useDetails(c *cli.Context, list *lists.List) (notes []string) {
	reasons := make(map[string]bool)
	expire := 0
	// IsSet takes microseconds, and a list has up to millions of entries.
	ownExpiry, ownReason := c.IsSet("for"), c.IsSet("reason")
	for i := range list.Entries {
		e := &list.Entries[i]
		if ownExpiry {
			e.Until = time.Time{}
		}
		if ownReason {
			e.Reason = ""
		}
		if !e.Until.IsZero() {
			expire++
		}
		if len(reasons) <= policy.MaxListReasons {
			reasons[e.Reason] = true
		}
	}
	if expire > 0 {
		notes = append(notes, fmt.Sprintf("%s when the list says", amount(expire, "entry expires", "entries expire")))
	}
	if len(reasons) <= policy.MaxListReasons {
		return notes
	}
	for i := range list.Entries {
		list.Entries[i].Reason = ""
	}
	return append(notes, fmt.Sprintf("the reasons of the list are left out, because it has more than %s different ones",
		count(policy.MaxListReasons)))
}

// readNotes tells how a list was read. There is nothing to tell of a plain list.
func readNotes(list *lists.List) (notes []string) {
	add := func(n int, text string) {
		if n > 0 {
			notes = append(notes, count(n)+" "+text)
		}
	}
	if list.Format != "plain" || list.Packing != "" {
		packing := ""
		if list.Packing != "" {
			packing = " (" + list.Packing + ")"
		}
		notes = append(notes, fmt.Sprintf("read as %s%s, %s", list.Title, packing,
			amount(len(list.Entries), "prefix", "prefixes")))
	}
	add(list.Masked, "prefixes had host bits set, which were cleared")
	add(list.Ended, "entries have expired and are left out")
	add(list.Left, "records are left out: they are not selected, or block nothing")
	add(list.Exempt, "exemptions were taken out of the prefixes around them")
	return notes
}
