package policy

import "strings"

// source holds the strings that many entries have in common.
type source struct{ origin, reason, author string }

// sourceRef is the number of a source; 0 is none.
type sourceRef uint32

// sources stores every source once, as long as an entry uses it. A number needs
// much less memory in an entry than three strings, and the garbage collector does
// not follow it.
type sources struct {
	refs   map[source]sourceRef
	held   []heldSource // by sourceRef; the first is unused
	freed  []sourceRef
	units  int               // of all entries; see UnitsOf
	shares map[string]*share // by author
}

type heldSource struct {
	source
	entries int // number of entries that use it
	units   int // of each of them
	share   *share
}

// share is the part of an author in the entries.
type share struct{ units int }

func newSources() sources {
	return sources{
		refs: make(map[source]sourceRef), held: make([]heldSource, 1), shares: make(map[string]*share),
	}
}

func (s *sources) at(r sourceRef) source { return s.held[r].source }

// take returns the number of a source for one more entry.
func (s *sources) take(src source) sourceRef {
	r, known := s.refs[src]
	if !known {
		// The strings may be parts of a long request, which should not stay in
		// memory.
		src = source{strings.Clone(src.origin), strings.Clone(src.reason), strings.Clone(src.author)}
		r = s.number()
		s.refs[src] = r
		s.held[r] = heldSource{source: src, units: unitsOf(src.reason), share: s.shareOf(src.author)}
	}
	held := &s.held[r]
	held.entries++
	held.share.units += held.units
	s.units += held.units
	return r
}

func (s *sources) shareOf(author string) *share {
	if s.shares[author] == nil {
		s.shares[author] = new(share)
	}
	return s.shares[author]
}

// shareUnits returns the units of the entries of an author.
func (s *sources) shareUnits(author string) int {
	if held := s.shares[author]; held != nil {
		return held.units
	}
	return 0
}

func (s *sources) number() sourceRef {
	if last := len(s.freed) - 1; last >= 0 {
		r := s.freed[last]
		s.freed = s.freed[:last]
		return r
	}
	s.held = append(s.held, heldSource{})
	return sourceRef(len(s.held) - 1)
}

// give takes back a number from take when the entry is gone.
func (s *sources) give(r sourceRef) {
	held := &s.held[r]
	s.units -= held.units
	if held.share.units -= held.units; held.share.units == 0 {
		delete(s.shares, held.author)
	}
	if held.entries--; held.entries > 0 {
		return
	}
	delete(s.refs, held.source)
	*held = heldSource{}
	s.freed = append(s.freed, r)
}
