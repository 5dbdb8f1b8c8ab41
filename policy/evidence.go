package policy

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Evidence is the measurement because of which a detector or a rule made an entry. It must
// not be changed after it was put into an entry: the book keeps and returns the
// same pointer.
type Evidence struct {
	Detector string // empty for a rule
	Rate     Rate   // measured; for a rule there is none
	Limit    Rate   // the same
	Window   time.Duration
	Count    uint64    // packets or bytes in the window, in Limit's unit; for a rule points
	First    time.Time // start of counting the source; wall clock, whole seconds
	Last     time.Time
	Ports    []uint16      // some of the destination ports, sampled
	Offence  int           // number of this offence among those remembered, from 1
	Sources  int           // distinct offenders in a widened prefix, otherwise 0
	Rule     *RuleEvidence // nil for a detector
}

// RuleEvidence is the part of an Evidence that only a rule has.
type RuleEvidence struct {
	Rule     string
	Limit    int    // points
	Reporter string // of the last event
	Seen     []Seen // the last events, the oldest first
}

// Seen is an event. Its texts are those of the reporter, and Visible.
type Seen struct {
	Time   time.Time // whole seconds
	Points int
	User   string
	Path   string
	Text   string
	Where  string
}

// Visible returns a text of a stranger, with hidden characters and bytes that are no text
// escaped as in Go: \x1b, \u202e. So it can forge no line of a terminal or a log.
func Visible(s string) string {
	hidden := func(r rune) bool { return r == utf8.RuneError || IsHidden(r) }
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var b strings.Builder
	for i, width := 0, 0; i < len(s); i += width {
		var r rune
		r, width = utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && width == 1:
			fmt.Fprintf(&b, "\\x%02x", s[i])
		case !hidden(r):
			b.WriteRune(r)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, "\\x%02x", r)
		case r <= 0xffff:
			fmt.Fprintf(&b, "\\u%04x", r)
		default:
			fmt.Fprintf(&b, "\\U%08x", r)
		}
	}
	return b.String()
}
