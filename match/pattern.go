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
}

// element is a literal, or a field: a run of bytes of one class.
type element struct {
	literal string
	search  []byte // the literal again, for package bytes
	class   *class // nil: a literal
	min     int
	name    string
	without int  // the only byte that is not in class; every: all are in it; several: more are not
	greedy  bool // what follows begins with no byte of class, so that only the whole run counts
}

// Values of element.without that are no byte.
const (
	every   = -1
	several = -2
)

func literal(s string) element { return element{literal: s, search: []byte(s)} }

func field(c *class, min int) element {
	e := element{class: c, min: min, without: every}
	for b, in := range c {
		switch {
		case in:
		case e.without == every:
			e.without = b
		default:
			e.without = several
			return e
		}
	}
	return e
}

// class is a set of bytes.
type class [256]bool

// span is a range of positions in a text, with both ends.
type span struct{ lo, hi int }

// forward returns the positions at which elements end if they begin at position at. The result
// uses the memory of set or spare.
func forward(text []byte, at int, elements []element, set, spare []span) (result, other []span) {
	set = append(set[:0], span{at, at})
	for i := range elements {
		next := elements[i].step(text, set, spare[:0])
		if len(next) == 0 {
			return next, set
		}
		set, spare = next, set
	}
	return set, spare
}

// step appends the positions behind e if it begins at one of set.
func (e *element) step(text []byte, set, to []span) []span {
	for _, s := range set {
		if e.class != nil {
			to = e.run(text, s, to)
		} else {
			to = e.find(text, s, to)
		}
	}
	return to
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
	if n := len(to); n > 0 && p <= to[n-1].hi {
		// The run that reaches p goes on to the same end, and is in the set already.
		return to
	}
	end := e.reach(text, p)
	if p+e.min > end {
		return to
	}
	if e.greedy {
		return append(to, span{end, end})
	}
	return append(to, span{p + e.min, end})
}

// reach returns the end of the longest run that begins at p.
func (e *element) reach(text []byte, p int) int {
	switch {
	case e.without == every:
		return len(text)
	case e.without >= 0:
		if i := bytes.IndexByte(text[p:], byte(e.without)); i >= 0 {
			return p + i
		}
		return len(text)
	}
	for p < len(text) && e.class[text[p]] {
		p++
	}
	return p
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

// capture returns the text of the field named user, if the address is from start to end. It has
// to be the only field of the left side, or the end of a right side that begins with a literal.
func (p *pattern) capture(text []byte, start, end int) []byte {
	if n := len(p.right); n == 2 && p.right[1].name == "user" {
		return text[end+len(p.right[0].literal):]
	}
	at, rest, found := 0, 0, false
	for i := range p.left {
		e := &p.left[i]
		switch {
		case e.class != nil && (found || e.name != "user"):
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
