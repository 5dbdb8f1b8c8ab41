package events

import (
	"net/netip"

	"github.com/paraxial/paraxial/policy"
)

// table has the sources that one rule counts, in the order of their last events.
type table struct {
	rule    Rule
	origin  string
	sources map[netip.Prefix]*source
	oldest  *source
	newest  *source
	size    int // memory of all sources
	results map[resultKey]uint64
	evicted uint64
	inside  map[netip.Prefix]int // number of live entries inside a wider prefix
}

func newTable(rule Rule) *table {
	return &table{
		rule: rule, origin: rule.Origin(), sources: map[netip.Prefix]*source{},
		results: map[resultKey]uint64{}, inside: map[netip.Prefix]int{},
	}
}

// touch returns the source with a prefix, as the one with the last event. It makes one if there
// is none.
func (t *table) touch(p netip.Prefix, now policy.Deadline) *source {
	s := t.sources[p]
	if s == nil {
		s = &source{prefix: p, newest: minTime}
		t.sources[p] = s
	} else {
		t.unlink(s)
	}
	s.touched = now
	s.prev, s.next = t.newest, nil
	if t.newest != nil {
		t.newest.next = s
	} else {
		t.oldest = s
	}
	t.newest = s
	return s
}

func (t *table) unlink(s *source) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		t.oldest = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		t.newest = s.prev
	}
}

// measure counts the memory of s anew, and returns the difference.
func (t *table) measure(s *source) int {
	before := s.cost
	s.cost = s.size()
	t.size += s.cost - before
	return s.cost - before
}

// drop removes s, and returns the memory that it took.
func (t *table) drop(s *source) int {
	t.unlink(s)
	delete(t.sources, s.prefix)
	t.size -= s.cost
	return s.cost
}
