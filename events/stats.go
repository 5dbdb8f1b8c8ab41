package events

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/paraxial/paraxial/policy"
)

// resultKey is what results are counted by.
type resultKey struct {
	reporter string
	result   Result
}

// maxReporters bounds the reporters of which results are counted. Those beyond count as
// OtherReporter. A configuration has fewer, but reloads may bring new ones.
const maxReporters = 64

// OtherReporter stands for the reporters of which there is no count.
const OtherReporter = "other"

func (t *table) tally(reporter string, r Result) {
	k := resultKey{reporter, r}
	if _, known := t.results[k]; !known && len(t.results) >= maxReporters*len(Results()) {
		k.reporter = OtherReporter
	}
	t.results[k]++
}

// Note counts a result of an event that never got to Add, such as one beyond a budget.
func (c *Counter) Note(rule, reporter string, r Result) {
	t := c.byName[rule]
	if t == nil {
		t = c.unknown
	}
	t.tally(reporter, r)
}

// Tally is the number of events of a rule, a reporter and a result.
type Tally struct {
	Rule     string // empty for all rules that do not exist
	Reporter string
	Result   Result
	Events   uint64
}

// RuleStats is the state of a rule.
type RuleStats struct {
	Rule    string
	Sources int // that are counted
	Entries int // live
	Evicted uint64
}

// Stats is the state of a Counter.
type Stats struct {
	Rules   []RuleStats // in the order of the configuration
	Tallies []Tally     // sorted
	Memory  int         // of all sources, in bytes
}

// Stats returns the state of c.
func (c *Counter) Stats(now policy.Deadline) Stats {
	c.expire(now)
	s := Stats{Memory: c.size}
	entries := map[*table]int{}
	for k := range c.entries.byKey {
		entries[k.table]++
	}
	for _, t := range c.tables {
		s.Rules = append(s.Rules, RuleStats{t.rule.Name, len(t.sources), entries[t], t.evicted})
		s.Tallies = append(s.Tallies, t.tallies()...)
	}
	s.Tallies = append(s.Tallies, c.unknown.tallies()...)
	return s
}

func (t *table) tallies() []Tally {
	keys := slices.SortedFunc(maps.Keys(t.results), func(a, b resultKey) int {
		return cmp.Or(cmp.Compare(a.reporter, b.reporter), cmp.Compare(a.result, b.result))
	})
	list := make([]Tally, 0, len(keys))
	for _, k := range keys {
		list = append(list, Tally{t.rule.Name, k.reporter, k.result, t.results[k]})
	}
	return list
}

// CountedSource is what is counted of a source.
type CountedSource struct {
	Rule   string
	Prefix netip.Prefix
	Points int
	Limit  int
	Last   policy.Deadline // time of the last event
}

// mostLooked bounds the sources that Nearest looks at, the last ones first, because nothing is
// counted meanwhile.
const mostLooked = 20_000

// Nearest returns the sources of a rule that are nearest to its limit, at most n of them.
func (c *Counter) Nearest(rule string, n int, now policy.Deadline) []CountedSource {
	t := c.byName[rule]
	if t == nil {
		return nil
	}
	var list []CountedSource
	looked := 0
	for s := t.newest; s != nil && looked < mostLooked; s = s.prev {
		looked++
		if points := s.inWindow(&t.rule, now); points > 0 {
			list = append(list, CountedSource{rule, s.prefix, points, t.rule.Limit, s.newest})
		}
	}
	slices.SortFunc(list, func(a, b CountedSource) int {
		return cmp.Or(cmp.Compare(b.Points, a.Points), a.Prefix.Compare(b.Prefix))
	})
	return list[:min(len(list), n)]
}

// Forgive drops what is counted of the sources that contain an address, and returns it.
func (c *Counter) Forgive(address netip.Addr, now policy.Deadline) []CountedSource {
	var list []CountedSource
	address = address.Unmap()
	for _, t := range c.tables {
		for _, bits := range []int{t.rule.Per.Of(address.Is4()), address.BitLen()} {
			p, err := address.Prefix(bits)
			if err != nil {
				continue
			}
			if s := t.sources[p]; s != nil {
				list = append(list, CountedSource{t.rule.Name, p, s.inWindow(&t.rule, now), t.rule.Limit, s.newest})
				c.size -= t.drop(s)
			}
		}
	}
	return list
}
