package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
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

// canonical is a list as the daemon reads it: one prefix a line.
type canonical struct {
	entries []lists.Entry
	line    []byte
}

func (r *canonical) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		if len(r.line) == 0 {
			if len(r.entries) == 0 {
				break
			}
			r.line = append(r.entries[0].Prefix.AppendTo(r.line[:0]), '\n')
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

// aggregateList merges the entries. A merged entry has the line of its first part.
func aggregateList(list *lists.List) {
	slices.SortFunc(list.Entries, func(x, y lists.Entry) int { return x.Prefix.Addr().Compare(y.Prefix.Addr()) })
	var merged []lists.Entry
	at := 0
	for _, prefix := range lists.Aggregate(prefixesOf(list)) {
		for list.Entries[at].Prefix.Addr().Less(prefix.Addr()) {
			at++
		}
		merged = append(merged, lists.Entry{Prefix: prefix, Line: list.Entries[at].Line})
	}
	list.Entries = merged
}

func prefixesOf(list *lists.List) []netip.Prefix {
	all := make([]netip.Prefix, len(list.Entries))
	for i, e := range list.Entries {
		all[i] = e.Prefix
	}
	return all
}

// useExpiry lets the entries expire as the list says, unless the user says how long they
// are kept. All entries of an import expire at once, so that is the last time in the list.
// The notes tell how the list was read.
func (p *program) useExpiry(c *cli.Context, list *lists.List, req *control.ImportRequest) (notes []string) {
	var last time.Time
	with := 0
	for _, e := range list.Entries {
		if !e.Until.IsZero() {
			with++
		}
		if e.Until.After(last) {
			last = e.Until
		}
	}
	notes = readNotes(list)
	switch left := last.Sub(p.now()).Round(time.Second); {
	case with == 0 || c.IsSet("for"):
	case with < len(list.Entries):
		notes = append(notes, fmt.Sprintf("%s of %s entries expire by the list; all are kept without end, unless you "+
			"give --for", count(with), count(len(list.Entries))))
	case left > policy.MaxTTL:
	default:
		req.For = policy.FormatTTL(max(left, time.Second))
		notes = append(notes, fmt.Sprintf("all entries are kept for %s, when the last one expires by the list", req.For))
	}
	return notes
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
		notes = append(notes, fmt.Sprintf("read as %s%s, %s prefixes", list.Title, packing, count(len(list.Entries))))
	}
	add(list.Masked, "prefixes had host bits set, which were cleared")
	add(list.Ended, "entries have expired and are left out")
	add(list.Left, "records are left out: they are not selected, or block nothing")
	add(list.Exempt, "exemptions were taken out of the prefixes around them")
	return notes
}
