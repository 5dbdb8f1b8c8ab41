package match

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
)

// A pattern is a text with one <addr>, with fields such as <user:[^:]*>, and with literal text
// between them. It is split at <addr>. left must match the whole text before the address, and
// right the whole text behind it.
//
// Each side is matched by sets of positions: after every element, at which positions of the
// text the match can stand. So the time grows with the length of the text and the number of
// elements, and there is no backtracking.
type pattern struct {
	left, right []element
	kind        Kind
	sameLeft    bool // left is that of the pattern before it in the list
}

// element is a literal, or a field: a run of bytes of one class.
type element struct {
	literal string
	search  []byte // the literal again, for package bytes
	class   *class // nil: a literal
	min     int
	name    string
}

// class is a set of bytes.
type class [256]bool

// maxElements is the largest number of elements of a pattern.
const maxElements = 64

// parsePattern reads a pattern. Two fields must have a literal between them.
func parsePattern(text string, kind Kind) (pattern, error) {
	p := pattern{kind: kind}
	var side []element
	found := false
	for rest := text; rest != ""; {
		literal, after := readLiteral(rest)
		if literal != "" {
			side = append(side, element{literal: literal, search: []byte(literal)})
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
	e := element{name: name}
	switch {
	case strings.HasSuffix(expr, "*"):
	case strings.HasSuffix(expr, "+"):
		e.min = 1
	default:
		return e, fmt.Errorf("class %q: must end with * or +", expr)
	}
	var err error
	e.class, err = parseClass(expr[:len(expr)-1])
	return e, err
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

// span is a range of positions in a text, with both ends.
type span struct{ lo, hi int }

// scratch is memory for the sets of positions, used again for every line.
type scratch struct {
	left, right, spare []span
}

// forward returns the positions at which elements end if they begin at position 0. The result
// uses the memory of set or spare.
func forward(text []byte, elements []element, set, spare []span) (result, other []span) {
	set = append(set[:0], span{0, 0})
	for _, e := range elements {
		next := spare[:0]
		for _, s := range set {
			if e.class != nil {
				next = e.run(text, s, next)
			} else {
				next = e.find(text, s, next)
			}
		}
		if len(next) == 0 {
			return next, set
		}
		set, spare = next, set
	}
	return set, spare
}

// find appends the positions behind each literal that begins in s.
func (e *element) find(text []byte, s span, to []span) []span {
	n := len(e.literal)
	for lo := s.lo; lo <= s.hi; {
		end := min(s.hi+n, len(text))
		if lo+n > end {
			break
		}
		i := bytes.Index(text[lo:end], e.search)
		if i < 0 {
			break
		}
		to = append(to, span{lo + i + n, lo + i + n})
		lo += i + 1
	}
	return to
}

// run appends the positions behind each run of the class that begins at s. A field follows a
// literal, so s is one position.
func (e *element) run(text []byte, s span, to []span) []span {
	p := s.lo
	end := p
	if n := len(to); n > 0 && p <= to[n-1].hi {
		// The run that reaches p goes on to the same end, and is in the set already.
		return to
	}
	for end < len(text) && e.class[text[end]] {
		end++
	}
	if p+e.min > end {
		return to
	}
	return append(to, span{p + e.min, end})
}

// backward returns the positions at which elements begin if they end with the text. They are
// in descending order.
func backward(text []byte, elements []element, set, spare []span) (result, other []span) {
	set = append(set[:0], span{len(text), len(text)})
	for i := len(elements) - 1; i >= 0; i-- {
		e, next := &elements[i], spare[:0]
		for _, s := range set {
			if e.class != nil {
				next = e.runBack(text, s, next)
			} else {
				next = e.findBack(text, s, next)
			}
		}
		if len(next) == 0 {
			return next, set
		}
		set, spare = next, set
	}
	return set, spare
}

// findBack appends the positions before each literal that ends in s.
func (e *element) findBack(text []byte, s span, to []span) []span {
	n := len(e.literal)
	for hi := s.hi; hi >= s.lo && hi >= n; {
		if string(text[hi-n:hi]) == e.literal {
			to = append(to, span{hi - n, hi - n})
			hi--
			continue
		}
		i := bytes.LastIndex(text[max(s.lo-n, 0):hi], e.search)
		if i < 0 {
			break
		}
		hi = max(s.lo-n, 0) + i + n
	}
	return to
}

// runBack appends the positions before each run of the class that ends at s.
func (e *element) runBack(text []byte, s span, to []span) []span {
	p := s.lo
	if n := len(to); n > 0 && p >= to[n-1].lo {
		return to
	}
	start := p
	for start > 0 && e.class[text[start-1]] {
		start--
	}
	if p-e.min < start {
		return to
	}
	return append(to, span{start, p - e.min})
}

// contains reports whether position p is in set, which is in descending order.
func contains(set []span, p int) bool {
	i, j := 0, len(set)
	for i < j {
		middle := int(uint(i+j) >> 1)
		if set[middle].lo > p {
			i = middle + 1
		} else {
			j = middle
		}
	}
	return i < len(set) && p <= set[i].hi
}

// reading collects what the patterns of a format read in one line.
type reading struct {
	addr      netip.Addr
	kind      Kind
	user      []byte
	found     bool // addr fits
	ambiguous bool
	name      bool // a host name fits where the address should be
}

// add notes that an address fits.
func (r *reading) add(a netip.Addr, kind Kind) (first bool) {
	switch {
	case !r.found:
		r.addr, r.kind, r.found = a, kind, true
		return true
	case r.addr != a:
		r.ambiguous = true
	}
	return false
}

// match tries p with every address of the text.
func (p *pattern) match(text []byte, r *reading, m *scratch) {
	if !p.sameLeft {
		m.left = m.left[:0]
		if p.mayBegin(text) {
			m.left, m.spare = forward(text, p.left, m.left, m.spare)
		}
	}
	if len(m.left) == 0 || !p.mayEnd(text) {
		return
	}
	m.right, m.spare = backward(text, p.right, m.right, m.spare)
	if len(m.right) == 0 {
		return
	}
	var behind byte // begins the text that must follow the address
	if len(p.right) > 0 && p.right[0].literal != "" {
		behind = p.right[0].literal[0]
	}
	low := m.right[len(m.right)-1].lo // the end of the address is not before it
	for _, s := range m.left {
		p.tryAt(text, s.lo, low, behind, r, m)
	}
}

// mayBegin compares the literal at the start, which rules out most patterns.
func (p *pattern) mayBegin(text []byte) bool {
	if len(p.left) == 0 {
		return true
	}
	l := p.left[0].literal
	return len(text) >= len(l) && string(text[:len(l)]) == l
}

// mayEnd compares the literal at the end.
func (p *pattern) mayEnd(text []byte) bool {
	n := len(p.right)
	if n == 0 {
		return true
	}
	l := p.right[n-1].literal
	return len(text) >= len(l) && string(text[len(text)-len(l):]) == l
}

// tryAt reads an address, or a host name, that begins at start.
func (p *pattern) tryAt(text []byte, start, low int, behind byte, r *reading, m *scratch) {
	fits := false
	limit := addressEnd(text, start)
	for end := max(start+2, low); end <= limit; end++ {
		if !contains(m.right, end) || !isBoundary(text, end, behind) {
			continue
		}
		a, ok := parseAddr(text[start:end])
		if !ok {
			continue
		}
		fits = true
		if r.add(a, p.kind) {
			r.user = p.capture(text, start)
		}
	}
	if fits {
		return
	}
	end, letters := start, false
	for end < len(text) && isNameByte(text[end]) {
		letters = letters || text[end]|0x20 >= 'a' && text[end]|0x20 <= 'z'
		end++
	}
	if letters && contains(m.right, end) && text[start] != '-' {
		r.name = true
	}
}

// capture returns the text of the field named user on the left side, if it is the only field
// there.
func (p *pattern) capture(text []byte, start int) []byte {
	at, rest, found := 0, 0, false
	for _, e := range p.left {
		switch {
		case e.class != nil && found:
			return nil
		case e.class != nil && e.name != "user":
			return nil
		case e.class != nil:
			found = true
		case found:
			rest += len(e.literal)
		default:
			at += len(e.literal)
		}
	}
	if !found {
		return nil
	}
	return text[at : start-rest]
}
