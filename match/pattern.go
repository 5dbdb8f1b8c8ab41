package match

import (
	"bytes"
	"net/netip"
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
	end         bool // see Result.End
	index       int  // in the list of a user
	order       int  // of all patterns of a format
	sameLeft    bool // left is that of the pattern before it in the list
}

// beginning is the length of the text by which patterns are found.
const beginning = 12

// bucket has the patterns that begin with the same byte. Formats have hundreds of patterns, and
// comparing each with the start of a line would take most of the time.
type bucket struct {
	short groups                     // those that begin with a text shorter than beginning
	long  map[[beginning]byte]groups // the others
}

// groups are patterns by the whole text that they begin with.
type groups []group

type group struct {
	literal  string
	patterns []pattern
}

func (g groups) add(p pattern) groups {
	l := p.left[0].literal
	for i := range g {
		if g[i].literal == l {
			g[i].patterns = appendPattern(g[i].patterns, p)
			return g
		}
	}
	return append(g, group{l, []pattern{p}})
}

// match tries the patterns whose beginning is that of the text.
func (g groups) match(text []byte, r *reading, m *scratch) {
	for i := range g {
		l := g[i].literal
		if len(text) < len(l) || string(text[:len(l)]) != l {
			continue
		}
		for j := range g[i].patterns {
			g[i].patterns[j].match(text, r, m)
		}
	}
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

// span is a range of positions in a text, with both ends.
type span struct{ lo, hi int }

// scratch is memory for the sets of positions, used again for every line.
type scratch struct {
	left, right, spare []span
	few                bool // right is not known
	places             [4]place
	known              int // places of this line that were looked at
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
	if s.lo == s.hi {
		if s.lo+n <= len(text) && string(text[s.lo:s.lo+n]) == e.literal {
			to = append(to, span{s.lo + n, s.lo + n})
		}
		return to
	}
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
	if s.hi-s.lo <= fewPositions {
		for hi := s.hi; hi >= s.lo && hi >= n; hi-- {
			if text[hi-1] == e.literal[n-1] && string(text[hi-n:hi]) == e.literal {
				to = append(to, span{hi - n, hi - n})
			}
		}
		return to
	}
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

// fewPositions are compared one by one. bytes.LastIndex would look at more bytes than that.
const fewPositions = 16

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
	pattern   int // its index
	order     int
	end       bool
	found     bool // addr fits
	ambiguous bool
	name      bool // a host name fits where the address should be
}

// add notes that an address fits p. first says that p is the first of the patterns that fit.
func (r *reading) add(a netip.Addr, p *pattern) (first bool) {
	if r.found && r.addr != a {
		r.ambiguous = true
		return false
	}
	if r.found && r.order <= p.order {
		return false
	}
	r.addr, r.kind, r.end, r.order, r.pattern, r.found = a, p.kind, p.end, p.order, p.index, true
	return true
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
	if m.few = isFew(m.left); !m.few {
		m.right, m.spare = backward(text, p.right, m.right, m.spare)
		if len(m.right) == 0 {
			return
		}
	}
	var behind byte // begins the text that must follow the address
	if len(p.right) > 0 && p.right[0].literal != "" {
		behind = p.right[0].literal[0]
	}
	for _, s := range m.left {
		p.tryAt(text, m.place(text, s.lo, behind), r, m)
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

// tryAt tries the addresses, or the host name, at a place.
func (p *pattern) tryAt(text []byte, at *place, r *reading, m *scratch) {
	fits := false
	for _, e := range at.ends {
		if p.follows(text, e.end, m) {
			fits = true
			if r.add(e.addr, p) {
				r.user = p.capture(text, at.start)
			}
		}
	}
	if !fits && at.name > 0 && p.follows(text, at.name, m) {
		r.name = true
	}
}

// isFew reports whether there are so few positions that it takes less time to match the right
// side behind each address than to find out once where it may begin. A hostile line has many.
func isFew(set []span) bool {
	n := 0
	for _, s := range set {
		n += s.hi - s.lo + 1
	}
	return n <= 2
}

// follows reports whether the right side of p matches the whole text from end on.
func (p *pattern) follows(text []byte, end int, m *scratch) bool {
	if !m.few {
		return contains(m.right, end)
	}
	rest := text[end:]
	if len(p.right) == 0 {
		return len(rest) == 0
	}
	if l := p.right[0].literal; len(rest) < len(l) || string(rest[:len(l)]) != l {
		return false
	}
	m.right, m.spare = forward(rest, p.right, m.right, m.spare)
	for _, s := range m.right {
		if s.lo <= len(rest) && len(rest) <= s.hi {
			return true
		}
	}
	return false
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
