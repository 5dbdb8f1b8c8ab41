package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// shown is the number of lines of one kind that a summary shows before "and N
// more".
const shown = 10

func (p *program) json() bool { return p.format == "json" }

func (p *program) printf(format string, args ...any) {
	fmt.Fprintf(p.out, format, args...)
}

func (p *program) printJSON(v any) error {
	enc := json.NewEncoder(control.JSONWriter{W: p.out})
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printJSONLine prints v on one line, for output of one object after the other.
func (p *program) printJSONLine(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = control.JSONWriter{W: p.out}.Write(append(data, '\n'))
	return err
}

// notes prints the notes of the daemon to standard error, apart from the result.
func (p *program) notes(notes []string) {
	for _, n := range notes {
		fmt.Fprintf(p.stderr, "note: %s\n", printable(n))
	}
}

func newTable(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
}

// row writes the cells of one line of a table. An empty cell becomes a dash,
// so that the columns can be counted.
func row(w io.Writer, cells ...string) {
	for i, c := range cells {
		if c == "" {
			cells[i] = "-"
		}
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// printable escapes characters that could forge lines, move the cursor or reverse
// the direction of the text.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// count writes n with a comma between thousands.
func count[T int | uint32 | uint64](n T) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// amount returns n and a noun: "1 entry", "2,000 entries".
func amount(n int, one, many string) string {
	if n == 1 {
		return count(n) + " " + one
	}
	return count(n) + " " + many
}

func blocksText(n int) string { return amount(n, "block", "blocks") }

func allowsText(n int) string { return amount(n, "allow", "allows") }

func entriesText(n int) string { return amount(n, "entry", "entries") }

// expiry returns the time from now until an entry ends: "never", "in 59m30s".
func (p *program) expiry(at *time.Time) string {
	if at == nil {
		return "never"
	}
	left := at.Sub(p.now())
	if left <= 0 {
		return "now"
	}
	return "in " + policy.FormatTTL(max(left, time.Second))
}

// end returns when e ends, and under which condition.
func (p *program) end(e control.Entry) string {
	if e.Pending != nil {
		return p.expiry(&e.Pending.ConfirmBy) + " unless confirmed"
	}
	return p.expiry(e.Expires)
}

// ending returns end as the second half of a sentence.
func (p *program) ending(e control.Entry) string {
	if e.Pending == nil && e.Expires == nil {
		return "never expires"
	}
	return "expires " + p.end(e)
}

func (p *program) clock(t time.Time) string {
	return t.In(p.now().Location()).Format("2006-01-02 15:04:05 MST")
}

// since returns how long ago t was.
func (p *program) since(t time.Time) string { return since(p.now(), t) }

func since(now, then time.Time) string { return policy.FormatTTL(max(now.Sub(then), 0)) }

// packets returns the drops of an entry. An estimate begins with "~". If they are counted
// for another entry of the prefix, its origin is in parentheses.
func packets(e control.Entry) string {
	if e.DropsCountedBy != "" {
		return "(" + printable(e.DropsCountedBy) + ")"
	}
	s := count(e.Drops)
	if e.DropsEstimated {
		s = "~" + s
	}
	return s
}

// more prints how many lines a summary has left out, if any.
func more(w io.Writer, all int) {
	if all > shown {
		fmt.Fprintf(w, "  and %s more\n", count(all-shown))
	}
}

// actionName returns the action of e. The rate of a limit follows after separator.
func actionName(e control.Entry, separator string) string {
	switch e.Action {
	case "":
		return "pass"
	case policy.Limit.String():
		return e.Action + separator + printable(e.Rate)
	}
	return printable(e.Action)
}

func changes(added, removed, unchanged, renewed, refused int) string {
	again := ""
	if renewed > 0 {
		again = fmt.Sprintf(" (%s renewed)", count(renewed))
	}
	return fmt.Sprintf("%s added, %s removed, %s unchanged%s, %s refused",
		count(added), count(removed), count(unchanged), again, count(refused))
}

func importChanges(r control.ImportResult) string {
	return changes(r.Added, r.Removed, r.Unchanged, r.Renewed, len(r.Refused))
}

func portList(ports []uint16) string {
	words := make([]string, len(ports))
	for i, port := range ports {
		words[i] = fmt.Sprint(port)
	}
	return strings.Join(words, ", ")
}

// sourceText returns a source without "/32" or "/128".
func sourceText(s string) string {
	if p, _, err := policy.ParsePrefix(s); err == nil && p.IsSingleIP() {
		return p.Addr().String()
	}
	return s
}

// shortRate returns a rate in a unit that needs few digits.
func shortRate(s string) string {
	r, err := policy.ParseRate(s)
	switch {
	case err != nil:
		return s // the text of the daemon, such as 0/s
	case r.Unit == policy.Bytes:
		return perSecond(8*float64(r.PerSecond), "bit")
	}
	return perSecond(float64(r.PerSecond), "")
}

// perSecond returns n with three digits: 412/s, 12.3k/s, 1.25Mbit/s. It is empty
// for 0, which means unknown.
func perSecond(n float64, unit string) string {
	if n <= 0 {
		return ""
	}
	scales := []string{"", "k", "M", "G", "T"}
	for len(scales) > 1 && n >= 999.5 {
		n, scales = n/1000, scales[1:]
	}
	digits := 0
	if scales[0] != "" && n < 99.95 {
		digits = 1
	}
	return fmt.Sprintf("%.*f%s%s/s", digits, n, scales[0], unit)
}

// some returns the first few of args.
func some(args []string) string {
	const few = 3
	if len(args) > few {
		return strings.Join(args[:few], " ") + " ..."
	}
	return strings.Join(args, " ")
}

// entryArray prints entries as one JSON array, each as soon as it arrives.
func (p *program) entryArray(c *cli.Context, kind, origin string) error {
	separator := "[\n  "
	err := p.client.Entries(c.Context, kind, origin, func(e control.Entry) error {
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		p.out.WriteString(separator)
		separator = ",\n  "
		_, err = control.JSONWriter{W: p.out}.Write(data)
		return err
	})
	if err != nil {
		return err
	}
	if separator == "[\n  " {
		p.out.WriteString("[")
	} else {
		p.out.WriteString("\n")
	}
	p.out.WriteString("]\n")
	return nil
}

// changed prints the entries that a change has put, and those that stay as they were.
func (p *program) changed(r control.ChangeResult, verb func(control.Entry) string) {
	kept := make(map[string]bool)
	for _, e := range r.Kept {
		kept[e.Prefix] = true
	}
	beside := make(map[string]control.Entry)
	for _, e := range r.Beside {
		beside[e.Prefix] = e
	}
	for _, e := range r.Entries {
		if kept[e.Prefix] {
			continue
		}
		b, isBeside := beside[e.Prefix]
		if !isBeside {
			p.printf("%s %s, %s\n", verb(e), printable(e.Prefix), p.ending(e))
			continue
		}
		p.printf("not confirmed yet: %s %s, %s\n", verb(e), printable(e.Prefix), p.ending(e))
		p.printf("stays unless you confirm: %s %s, %s\n", verb(b), printable(b.Prefix), p.ending(b))
	}
	p.keptEntries(r.Kept, "stays as it is", verb)
}

// keptEntries prints entries that are stronger or longer than what was asked for.
func (p *program) keptEntries(kept []control.Entry, what string, verb func(control.Entry) string) {
	for _, e := range kept {
		p.printf("%s: %s %s by origin %s, %s: stronger or longer\n", what, verb(e),
			printable(e.Prefix), printable(e.Origin), p.ending(e))
	}
	if len(kept) > 0 {
		p.printf("To replace it all the same, add --replace. To have both, add --origin NAME.\n")
	}
}

// removed prints the entries that were removed, or that there were none.
func (p *program) removed(
	r control.RemoveResult, verb, nothing string, prefixes []string, origin string,
) error {
	if p.json() {
		return p.printJSON(r)
	}
	p.notes(r.Notes)
	for _, e := range r.Removed {
		p.printf("%s %s (origin %s)\n", verb, printable(e.Prefix), printable(e.Origin))
	}
	if len(r.Removed) == 0 {
		whose := ""
		if origin != "" {
			whose = " of origin " + origin
		}
		p.printf("nothing removed: there is %s%s for %s\n", nothing, whose, some(prefixes))
	}
	return nil
}

// removedNone returns a failure if nothing was removed.
func removedNone(r control.RemoveResult) error {
	if len(r.Removed) == 0 {
		return errReported
	}
	return nil
}

func (p *program) blockers(entries []control.Entry) {
	w := newTable(p.out)
	for _, e := range entries[:min(len(entries), shown)] {
		row(w, "  by "+printable(e.Prefix), "origin "+printable(e.Origin), p.ending(e), printable(e.Reason))
	}
	w.Flush()
	more(p.out, len(entries))
}

// waysOut prints the commands that let prefixes through although entries match.
func (p *program) waysOut(entries []control.Entry, prefixes []string) {
	for _, e := range entries[:min(len(entries), shown)] {
		p.printf("  paraxialctl unblock %s --origin %s\n", printable(e.Prefix), printable(e.Origin))
	}
	if len(entries) > 1 {
		p.printf("  paraxialctl unblock PREFIX --all    # the entries of every origin\n")
	}
	p.printf("  paraxialctl allow %s    # whatever blocks it\n", some(prefixes))
}
