package match

import (
	"reflect"
	"slices"
)

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

// group are patterns that begin with the same text, or with a field.
type group struct {
	literal string
	sides   []side
}

// side are patterns whose left sides are equal, so that it is matched once for all of them.
type side struct {
	left     []element // without the literal of the group
	patterns []*pattern
	right    []*tree
}

// tree holds right sides. Those that begin with the same elements share them.
type tree struct {
	behind byte // of a root: may follow an address, see isBoundary
	element
	ends []*pattern // those that end behind the element
	next []*tree
}

// scratch is memory for the sets of positions, used again for every line.
type scratch struct {
	left, right, spare []span
	levels             [maxElements + 1][]span // the positions in a tree, by depth
	fit                []*pattern              // those that fit at a place
	places             [fewPlaces]place
	known              int // places of this line that were looked at
}

// add adds p to the patterns that begin with the same text.
func (f *Format) add(p pattern) {
	p.order = f.added
	f.added++
	if len(p.left) == 0 || p.left[0].literal == "" {
		f.rest.add(&p, p.left)
		return
	}
	l := p.left[0].literal
	b := &f.byFirst[l[0]]
	if len(l) < beginning {
		b.short = b.short.add(&p, l)
		return
	}
	if b.long == nil {
		b.long = map[[beginning]byte]groups{}
	}
	key := [beginning]byte([]byte(l[:beginning]))
	b.long[key] = b.long[key].add(&p, l)
}

func (g groups) add(p *pattern, literal string) groups {
	i := slices.IndexFunc(g, func(x group) bool { return x.literal == literal })
	if i < 0 {
		i, g = len(g), append(g, group{literal: literal})
	}
	g[i].add(p, p.left[1:])
	return g
}

func (g *group) add(p *pattern, left []element) {
	i := slices.IndexFunc(g.sides, func(s side) bool { return reflect.DeepEqual(s.left, left) })
	if i < 0 {
		i, g.sides = len(g.sides), append(g.sides, side{left: left})
	}
	s := &g.sides[i]
	s.patterns = append(s.patterns, p)
	behind := p.behind()
	i = slices.IndexFunc(s.right, func(t *tree) bool { return t.behind == behind })
	if i < 0 {
		i, s.right = len(s.right), append(s.right, &tree{behind: behind})
	}
	s.right[i].add(p, p.right)
}

func (t *tree) add(p *pattern, right []element) {
	if len(right) == 0 {
		t.ends = append(t.ends, p)
		return
	}
	i := slices.IndexFunc(t.next, func(n *tree) bool {
		n.greedy = false // a result of what follows
		return reflect.DeepEqual(n.element, right[0])
	})
	if i < 0 {
		i, t.next = len(t.next), append(t.next, &tree{element: right[0]})
	}
	t.next[i].add(p, right[1:])
	for _, n := range t.next {
		n.greedy = n.class != nil && !slices.ContainsFunc(n.next, func(x *tree) bool {
			return x.class != nil || n.class[x.literal[0]]
		})
	}
}

// match tries the patterns whose beginning is that of the text.
func (g groups) match(text []byte, r *reading, m *scratch) {
	for i := range g {
		l := g[i].literal
		if len(text) >= len(l) && string(text[:len(l)]) == l {
			g[i].match(text, r, m)
		}
	}
}

// match tries the patterns with every address of the text, which begins with the literal.
func (g *group) match(text []byte, r *reading, m *scratch) {
	for i := range g.sides {
		s := &g.sides[i]
		if m.left, m.spare = forward(text, len(g.literal), s.left, m.left, m.spare); len(m.left) == 0 {
			continue
		}
		if !isFew(m.left) {
			s.matchMany(text, r, m)
			continue
		}
		for _, at := range m.left {
			for _, t := range s.right {
				t.match(text, m.place(text, at.lo, t.behind), r, m)
			}
		}
	}
}

// fewPlaces is a number of places at which it takes less time to match the right side behind each
// address than to find out once where it may begin. A hostile line has more.
const fewPlaces = 8

func isFew(set []span) bool {
	n := 0
	for _, s := range set {
		n += s.hi - s.lo + 1
	}
	return n <= fewPlaces
}

// match tries the addresses, or the host name, at a place.
func (t *tree) match(text []byte, at *place, r *reading, m *scratch) {
	m.fit = m.fit[:0]
	for _, e := range at.ends {
		n := len(m.fit)
		t.follow(text, e.end, m)
		for _, p := range m.fit[n:] {
			if r.add(e.addr, p) {
				r.user = p.capture(text, at.start, e.end)
			}
		}
	}
	if at.name == 0 {
		return
	}
	n := len(m.fit)
	t.follow(text, at.name, m)
	for _, p := range m.fit[n:] {
		r.name = r.name || !slices.Contains(m.fit[:n], p)
	}
}

// follow adds to m.fit the patterns of t whose right side matches the whole text from end on.
func (t *tree) follow(text []byte, end int, m *scratch) {
	if end == len(text) {
		m.fit = append(m.fit, t.ends...)
	}
	for _, n := range t.next {
		p := end
		switch {
		case n.class == nil:
			if p += len(n.literal); p > len(text) || string(text[end:p]) != n.literal {
				continue
			}
		case n.greedy: // there is only one position behind it
			if p = n.reach(text, p); p < end+n.min {
				continue
			}
		default:
			m.levels[0] = append(m.levels[0][:0], span{end, end})
			n.walk(text, 0, m)
			continue
		}
		n.follow(text, p, m)
	}
}

// walk follows an element, and those behind it, from the positions of a level.
func (t *tree) walk(text []byte, level int, m *scratch) {
	set := t.step(text, m.levels[level], m.levels[level+1][:0])
	m.levels[level+1] = set
	if len(set) == 0 {
		return
	}
	if len(t.ends) > 0 && reaches(set, len(text)) {
		m.fit = append(m.fit, t.ends...)
	}
	for _, n := range t.next {
		n.walk(text, level+1, m)
	}
}

// reaches reports whether position p is in set.
func reaches(set []span, p int) bool {
	for _, s := range set {
		if s.lo <= p && p <= s.hi {
			return true
		}
	}
	return false
}

// matchMany tries the patterns at the many positions of m.left.
func (s *side) matchMany(text []byte, r *reading, m *scratch) {
	for _, p := range s.patterns {
		if !p.mayEnd(text) {
			continue
		}
		m.right, m.spare = backward(text, p.right, m.right, m.spare)
		if len(m.right) == 0 {
			continue
		}
		for _, at := range m.left {
			p.tryAt(text, m.place(text, at.lo, p.behind()), r, m.right)
		}
	}
}

// behind returns the byte that follows the address, if an address may end before it only for
// that reason. See isBoundary.
func (p *pattern) behind() byte {
	if len(p.right) > 0 && p.right[0].literal != "" {
		if c := p.right[0].literal[0]; c == ':' || c == '/' {
			return c
		}
	}
	return 0
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

// tryAt tries the addresses, or the host name, at a place. The right side may begin at the
// positions of right.
func (p *pattern) tryAt(text []byte, at *place, r *reading, right []span) {
	fits := false
	for _, e := range at.ends {
		if contains(right, e.end) {
			fits = true
			if r.add(e.addr, p) {
				r.user = p.capture(text, at.start, e.end)
			}
		}
	}
	if !fits && at.name > 0 && contains(right, at.name) {
		r.name = true
	}
}
