package fail2ban

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// WriteYAML writes c as a part of paraxiald's configuration. The rules have the given action.
func (c Converted) WriteYAML(w io.Writer, action string) error {
	var b strings.Builder
	if len(c.Rules) > 0 {
		b.WriteString("rules:\n")
		for _, r := range c.Rules {
			r.write(&b, action)
		}
		b.WriteString("\nlogs:\n")
		for _, l := range c.Logs {
			l.write(&b)
		}
	}
	if len(c.Allow) > 0 {
		b.WriteString("\n# ignoreip: these addresses are left alone after\n")
		for _, p := range c.Allow {
			fmt.Fprintf(&b, "#   paraxialctl allow %s --reason 'ignoreip of fail2ban'\n", p)
		}
	}
	if len(c.Problems) > 0 {
		b.WriteString("\n# Not converted:\n")
		for _, p := range c.Problems {
			// A text cannot end the comment: quoting leaves no line end in it.
			b.WriteString("#   ")
			if p.Jail != "" {
				b.WriteString(visible(p.Jail) + ": ")
			}
			b.WriteString(visible(p.Text) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Rule) write(b *strings.Builder, action string) {
	fmt.Fprintf(b, "  - name: %s\n    limit: %d # maxretry %d: event %d bans\n    window: %s\n"+
		"    action: %s\n    for: %s\n",
		quote(r.Name), r.Limit, r.Limit+1, r.Limit+1, r.Window, action, r.For)
	if r.Escalate {
		fmt.Fprintf(b, "    escalate: {factor: 2, max: %s}\n", r.Longest)
	}
}

func (l Log) write(b *strings.Builder) {
	fmt.Fprintf(b, "  - name: %s\n", quote(l.Name))
	if l.File != "" {
		fmt.Fprintf(b, "    file: %s\n", quote(l.File))
	} else {
		units := make([]string, len(l.Units))
		for n, unit := range l.Units {
			units[n] = quote(unit)
		}
		fmt.Fprintf(b, "    journal: {units: [%s]}\n", strings.Join(units, ", "))
	}
	fmt.Fprintf(b, "    format: %s\n", l.Format)
	if len(l.Status) > 0 {
		codes := make([]string, len(l.Status))
		for n, code := range l.Status {
			codes[n] = strconv.Itoa(code)
		}
		fmt.Fprintf(b, "    match: {status: [%s]}\n", strings.Join(codes, ", "))
	}
	fmt.Fprintf(b, "    rule: %s\n", quote(l.Rule))
}

// quote returns s as a scalar of YAML. A word stays as it is, unless YAML could take it for a
// number, a truth value or nothing.
func quote(s string) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "y", "n", "null":
		return strconv.Quote(s)
	}
	if s != "" && strings.Trim(s[:1], letters+"/") == "" && strings.Trim(s, letters+"0123456789-._/@*") == "" {
		return s
	}
	return strconv.QuoteToASCII(s)
}

// visible returns s without line ends and hidden characters.
func visible(s string) string {
	q := strconv.QuoteToGraphic(s)
	return q[1 : len(q)-1]
}

// Span is a time that is written as in the configuration.
type Span time.Duration

// String returns the time in the largest unit that is exact. The shortest is a second.
func (s Span) String() string {
	d := max(time.Duration(s).Round(time.Second), time.Second)
	for _, u := range []struct {
		size time.Duration
		name string
	}{{7 * day, "w"}, {day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d%u.size == 0 {
			return fmt.Sprintf("%d%s", d/u.size, u.name)
		}
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// MarshalText implements encoding.TextMarshaler.
func (s Span) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
