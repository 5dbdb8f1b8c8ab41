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

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// shown is how many lines of a kind a summary shows before "and N more".
const shown = 10

func (p *program) json() bool { return p.format == "json" }

func (p *program) printf(format string, args ...any) {
	fmt.Fprintf(p.out, format, args...)
}

func (p *program) printJSON(v any) error {
	enc := newEncoder(p.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func newEncoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}

// notes prints what the daemon has to say besides, apart from the result.
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

// printable escapes what could forge lines, move the cursor or turn the text
// around.
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

// expiry tells when an entry ends, from now: "never", "in 59m30s".
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

// end tells when e ends, and on what condition.
func (p *program) end(e control.Entry) string {
	if e.Pending != nil {
		return p.expiry(&e.Pending.ConfirmBy) + " unless confirmed"
	}
	return p.expiry(e.Expires)
}

// ending is end as the rest of a sentence.
func (p *program) ending(e control.Entry) string {
	if e.Pending == nil && e.Expires == nil {
		return "never expires"
	}
	return "expires " + p.end(e)
}

func (p *program) clock(t time.Time) string {
	return t.In(p.now().Location()).Format("2006-01-02 15:04:05 MST")
}

// since tells how long ago t was.
func (p *program) since(t time.Time) string {
	return policy.FormatTTL(max(p.now().Sub(t), 0))
}

// packets writes the drops of an entry.
func packets(e control.Entry) string {
	s := count(e.Drops)
	if e.DropsEstimated {
		s = "~" + s
	}
	return s
}

// more prints how many lines were left out, if any were.
func more(w io.Writer, all int) {
	if all > shown {
		fmt.Fprintf(w, "  and %s more\n", count(all-shown))
	}
}
