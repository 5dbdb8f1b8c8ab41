package lists

import (
	"fmt"
	"strings"

	"github.com/paraxial/paraxial/policy"
)

// plain reads lists of addresses and prefixes with comments: one or several a line,
// ranges, netmasks and *. A line may also be a prefix and a number, such as a score, or
// a line of paraxialctl export.
type plain struct {
	out *sink
	two twoAs

	pairs, pairLine int  // lines with exactly two addresses, and the first of them
	several         bool // a line has three addresses or more

	lengths, lengthLine int // lines whose number can be the length of the prefix, and the first of them
	scores              int // lines whose number can not be one
}

// twoAs tells what two addresses on a line are.
type twoAs byte

const (
	unknownTwo twoAs = iota
	twoEnds          // the ends of a range
	twoSingle        // two addresses
)

func openPlain(two twoAs) func(*sink) parser {
	return func(o *sink) parser { return &plain{out: o, two: two} }
}

func (p *plain) line(n int, line string) error {
	text, comment := cutComment(line)
	if text == "" {
		return nil
	}
	d := details{reason: comment}
	if prefix, masked, err := policy.ParsePrefix(text); err == nil && !masked && comment == "" {
		return p.out.keep(Entry{Prefix: prefix, Line: n}) // most lines of most lists
	}
	if v, err := parseValue(text); err == nil {
		return p.out.add(n, v, d)
	}
	words := words(text)
	switch {
	case len(words) == 0:
		p.out.badf(n, "%s is not an IPv4 or IPv6 address", quote(text))
		return nil
	case len(words) == 1:
		return p.out.text(n, unquote(words[0]), d)
	case len(words) == 3 && words[1] == "-":
		return p.ends(n, words[0], words[2], d)
	case len(words) == 2:
		return p.pair(n, line, words[0], words[1], d)
	}
	return p.many(n, words, d)
}

// words splits a line at blanks and commas.
func words(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == '\t' || c == ',' })
}

// unquote takes quotes from a word, and brackets from an IPv6 address.
func unquote(s string) string {
	for _, pair := range []string{`""`, "''", "[]"} {
		if len(s) > 2 && s[0] == pair[0] && s[len(s)-1] == pair[1] {
			return s[1 : len(s)-1]
		}
	}
	return s
}

func (p *plain) ends(n int, first, last string, d details) error {
	v, err := rangeValue(first, last)
	if err != nil {
		p.out.bad(n, err)
		return nil
	}
	return p.out.add(n, v, d)
}

// pair reads a line of two words.
func (p *plain) pair(n int, line, first, second string, d details) error {
	switch _, mask := maskBits(second); {
	case mask && isAddr(first):
		v, err := maskValue(first+" "+second, first, second)
		if err != nil {
			p.out.bad(n, err)
			return nil
		}
		return p.out.add(n, v, d)
	case isAddr(first) && isAddr(second) && p.two == twoEnds:
		return p.ends(n, first, second, d)
	case isAddr(first) && isAddr(second):
		if p.pairs++; p.pairs == 1 {
			p.pairLine = n
		}
	case isValue(first) && isNumber(second):
		return p.scored(n, first, second, d)
	case isExported(line):
		return p.out.text(n, first, details{})
	}
	return p.many(n, []string{first, second}, d)
}

func isNumber(s string) bool { return digits(s) && len(s) < 16 }

// scored reads an address and a number. The number may be a score, or the length of the
// prefix; end decides from all lines.
func (p *plain) scored(n int, first, second string, d details) error {
	v, err := parseValue(first + "/" + second)
	if err != nil || v.masked {
		p.scores++
	} else if p.lengths++; p.lengths == 1 {
		p.lengthLine = n
	}
	return p.out.text(n, first, d)
}

// isExported reports whether a line is one of paraxialctl export: a prefix with its
// length, a tab and an origin.
func isExported(line string) bool {
	prefix, origin, ok := strings.Cut(strings.TrimRight(line, " \t"), "\t")
	if !ok || !strings.Contains(prefix, "/") || origin == "" || postfixAction(origin) != 0 || digits(origin) {
		return false
	}
	return !strings.ContainsFunc(origin, func(c rune) bool { return c <= ' ' || c == ',' || c == '|' }) &&
		!isValue(origin)
}

// many reads a line of several addresses. All of them must be understood.
func (p *plain) many(n int, words []string, d details) error {
	var values []value
	for i, w := range words {
		v, err := parseValue(unquote(w))
		if err != nil {
			if i > 0 && len(values) > 0 {
				err = fmt.Errorf("%w (word %d of the line)", err, i+1)
			}
			p.out.bad(n, err)
			return nil
		}
		values = append(values, v)
	}
	p.several = p.several || len(words) > 2
	for _, v := range values {
		if err := p.out.add(n, v, d); err != nil {
			return err
		}
	}
	return nil
}

func (p *plain) end() error {
	if p.pairs > 0 && !p.several && p.two == unknownTwo {
		return fmt.Errorf("line %d has two addresses, which may be a range or two single ones; "+
			"choose --format ranges or --format addresses", p.pairLine)
	}
	if p.lengths > p.scores {
		return fmt.Errorf("line %d: the number after the address may be the length of the prefix or a score; "+
			"write the prefix as 192.0.2.0/24, or leave the score out", p.lengthLine)
	}
	return nil
}
