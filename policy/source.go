package policy

import "strings"

// source is what many entries have in common: who wants them, why, and who
// asked for it.
type source struct{ origin, reason, author string }

// sourceRef names a source; 0 is none.
type sourceRef uint32

// sources holds every source once, for as long as an entry has it. A number
// in an entry costs a quarter of three strings, and the garbage collector does
// not follow it.
type sources struct {
	refs  map[source]sourceRef
	held  []heldSource // by sourceRef; the first is nobody's
	freed []sourceRef
}

type heldSource struct {
	source
	entries int // that have it
}

func newSources() sources {
	return sources{refs: make(map[source]sourceRef), held: make([]heldSource, 1)}
}

func (s *sources) at(r sourceRef) source { return s.held[r].source }

// take returns the number of a source for one more entry.
func (s *sources) take(src source) sourceRef {
	r, known := s.refs[src]
	if !known {
		// What is given may be part of a long request.
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

// give takes back what take returned, once an entry has gone.
func (s *sources) give(r sourceRef) {
	held := &s.held[r]
	if held.entries--; held.entries > 0 {
		return
	}
	delete(s.refs, held.source)
	*held = heldSource{}
	s.freed = append(s.freed, r)
}
