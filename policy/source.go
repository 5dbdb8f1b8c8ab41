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
	refs  map[source]sourceRef
	held  []heldSource // by sourceRef; the first is unused
	freed []sourceRef
}

type heldSource struct {
	source
	entries int // number of entries that use it
}

func newSources() sources {
	return sources{refs: make(map[source]sourceRef), held: make([]heldSource, 1)}
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
		s.held[r].source = src
	}
	s.held[r].entries++
	return r
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
	if held.entries--; held.entries > 0 {
		return
	}
	delete(s.refs, held.source)
	*held = heldSource{}
	s.freed = append(s.freed, r)
}
