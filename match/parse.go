package match

import (
	"fmt"
	"strings"
)

// maxElements is the largest number of elements of a pattern.
const maxElements = 64

// parsePattern reads a pattern. Two fields must have a literal between them.
func parsePattern(text string, kind Kind) (pattern, error) {
	p := pattern{kind: kind}
	var side []element
	found := false
	for rest := text; rest != ""; {
		text, after := readLiteral(rest)
		if text != "" {
			side = append(side, literal(text))
		}
		if after == "" {
			break
		}
		body, behind, err := readField(after)
		if err != nil {
			return p, fmt.Errorf("pattern %q: %w", text, err)
		}
		rest = behind
		if body == "addr" {
			if found {
				return p, fmt.Errorf("pattern %q: <addr> is there twice; write one pattern for each address", text)
			}
			p.left, side, found = side, nil, true
			continue
		}
		e, err := parseField(body)
		if err != nil {
			return p, fmt.Errorf("pattern %q: field <%s>: %w", text, body, err)
		}
		if n := len(side); n > 0 && side[n-1].class != nil {
			return p, fmt.Errorf("pattern %q: field <%s> follows another field; put text between them", text, body)
		}
		side = append(side, e)
	}
	p.right = side
	switch n := len(p.left); {
	case !found:
		return p, fmt.Errorf("pattern %q: <addr> is missing; put it where the address is", text)
	case n > 0 && p.left[n-1].class != nil:
		return p, fmt.Errorf("pattern %q: a field is directly before <addr>; put text between them", text)
	case n+len(p.right) > maxElements:
		return p, fmt.Errorf("pattern %q: has %d parts, at most %d", text, n+len(p.right), maxElements)
	}
	return p, nil
}

// readLiteral reads up to the next "<". A backslash makes the next byte literal.
func readLiteral(s string) (literal, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '<':
			return b.String(), s[i:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// readField reads "<body>". A ">" inside brackets does not end it.
func readField(s string) (body, rest string, err error) {
	inSet := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '[':
			inSet = true
		case c == ']':
			inSet = false
		case c == '>' && !inSet:
			return s[1:i], s[i+1:], nil
		}
	}
	return "", "", fmt.Errorf("%q has no \">\"; write \\< for a literal \"<\"", s)
}

// parseField reads NAME or NAME:CLASS. Without a class every byte fits.
func parseField(body string) (element, error) {
	name, expr, ok := strings.Cut(body, ":")
	if !ok {
		expr = ".*"
	}
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_0123456789") != "" {
		return element{}, fmt.Errorf("name %q: want lower-case letters, digits and underscores", name)
	}
	least := 0
	switch {
	case strings.HasSuffix(expr, "*"):
	case strings.HasSuffix(expr, "+"):
		least = 1
	default:
		return element{}, fmt.Errorf("class %q: must end with * or +", expr)
	}
	c, err := parseClass(expr[:len(expr)-1])
	if err != nil {
		return element{}, err
	}
	e := field(c, least)
	e.name = name
	return e, nil
}

// parseClass reads ".", "\d", "\S" or a set such as "[^: a-z]".
func parseClass(s string) (*class, error) {
	c := &class{}
	switch s {
	case ".":
		return invert(c), nil
	case `\d`:
		s = "[0-9]"
	case `\S`:
		s = "[^ \t]"
	}
	if len(s) < 3 || s[0] != '[' || s[len(s)-1] != ']' {
		return nil, fmt.Errorf(`class %q: want ., \d, \S or a set such as [^:]`, s)
	}
	set, negated := strings.CutPrefix(s[1:len(s)-1], "^")
	var chars []byte
	escaped := make([]bool, 0, len(set))
	for i := 0; i < len(set); i++ {
		isEscaped := set[i] == '\\' && i+1 < len(set)
		if isEscaped {
			i++
		}
		chars, escaped = append(chars, set[i]), append(escaped, isEscaped)
	}
	for i := 0; i < len(chars); i++ {
		last := chars[i]
		if i+2 < len(chars) && chars[i+1] == '-' && !escaped[i+1] {
			last = chars[i+2]
			if last < chars[i] {
				return nil, fmt.Errorf("class %q: range %c-%c is reversed", s, chars[i], last)
			}
		}
		for b := int(chars[i]); b <= int(last); b++ {
			c[b] = true
		}
		if last != chars[i] {
			i += 2
		}
	}
	if negated {
		return invert(c), nil
	}
	return c, nil
}

func invert(c *class) *class {
	for i := range c {
		c[i] = !c[i]
	}
	return c
}
