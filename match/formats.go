package match

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// definition is a built-in format. In its patterns {a|b} stands for a or b.
type definition struct {
	name     string
	aliases  []string
	longest  int      // 0: Longest
	programs []string // the names in the syslog head; none: no head
	strip    []string // words before a message that do not change its meaning
	failure  []string
	ends     []string // failures that end a connection
	success  []string
	other    []string
	http     bool // an access log
	parse    func(*Format, []byte) Result
}

func definitions() []definition {
	return slices.Concat(loginFormats(), accessFormats(), webFormats(), mailFormats(), appFormats(), otherFormats())
}

// Names returns the names of the built-in formats, in order.
func Names() []string {
	var names []string
	for _, d := range definitions() {
		names = append(names, d.name)
	}
	slices.Sort(names)
	return names
}

// New returns the built-in format called name.
func New(name string) (*Format, error) {
	for _, d := range definitions() {
		if d.name == name || slices.Contains(d.aliases, name) {
			return d.build(), nil
		}
	}
	return nil, fmt.Errorf("format %q is not known; want one of %s", name, strings.Join(Names(), ", "))
}

// Patterns returns a format that a user wrote as patterns for whole lines. Each has one
// <addr>. A field such as <user:[^:]*> is a run of bytes of a set; without a set any text fits.
// With a layout a line begins with its time, and the patterns are for what follows.
func Patterns(texts []string, layout Layout) (*Format, error) {
	f := &Format{name: "patterns", longest: Longest, layout: layout}
	if layout != "" {
		f.head = func(line []byte) ([]byte, bool) {
			_, rest, ok := layout.read(line, time.Time{})
			return rest, ok
		}
	}
	for n, t := range texts {
		p, err := parsePattern(t, Failure)
		if err != nil {
			return nil, err
		}
		p.index = n
		f.add(p)
	}
	return f, nil
}

func (d definition) build() *Format {
	f := &Format{name: d.name, programs: d.programs, longest: d.longest, parse: d.parse, http: d.http}
	if f.longest == 0 {
		f.longest = Longest
	}
	if len(d.programs) > 0 {
		f.head = head(d.programs, d.strip)
	}
	for _, p := range d.patterns() {
		f.add(p)
	}
	return f
}

// patterns returns the patterns of a format.
func (d definition) patterns() (list []pattern) {
	for _, set := range []struct {
		kind  Kind
		end   bool
		texts []string
	}{{Failure, false, d.failure}, {Failure, true, d.ends}, {Success, false, d.success}, {Other, false, d.other}} {
		for _, text := range set.texts {
			for _, expanded := range expand(text) {
				p, err := parsePattern(expanded, set.kind)
				if err != nil {
					panic(err) // the tests build every format
				}
				p.end = set.end
				list = append(list, p)
			}
		}
	}
	return list
}

// expand returns the texts that a text with {a|b} stands for. Alternatives are not nested.
func expand(text string) []string {
	open := strings.IndexByte(text, '{')
	if open < 0 {
		return []string{text}
	}
	inner, rest, _ := strings.Cut(text[open+1:], "}")
	var all []string
	tails := expand(rest)
	for choice := range strings.SplitSeq(inner, "|") {
		for _, tail := range tails {
			all = append(all, text[:open]+choice+tail)
		}
	}
	return all
}
