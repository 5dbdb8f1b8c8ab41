package events

import (
	"container/heap"
	"container/list"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// entry is a live entry of a rule.
type entry struct {
	table    *table
	prefix   netip.Prefix
	action   Action
	tripped  bool // action is Shadow because of the breaker
	wide     bool // of a network, by widening
	decided  policy.Deadline
	until    policy.Deadline
	points   int
	evidence Evidence      // until the decision is made
	shadow   *list.Element // in entries.shadows, if action is Shadow
	later    uint64        // events since the ban; see goesOn
}

type entryKey struct {
	table  *table
	prefix netip.Prefix
}

// entries are the live entries.
type entries struct {
	byKey   map[entryKey]*entry
	ends    byEnd      // those that end first are first; it may hold some that are gone
	shadows *list.List // of *entry, the oldest first
	going   map[entryKey]*entry
}

func newEntries() entries {
	return entries{byKey: map[entryKey]*entry{}, shadows: list.New(), going: map[entryKey]*entry{}}
}

func (s *entries) at(t *table, p netip.Prefix) *entry { return s.byKey[entryKey{t, p}] }

func (e *entry) key() entryKey { return entryKey{e.table, e.prefix} }

// put adds e, and replaces the entry with the same key.
func (c *Counter) put(e *entry) {
	if old := c.entries.byKey[e.key()]; old != nil {
		c.remove(old)
	}
	c.entries.byKey[e.key()] = e
	heap.Push(&c.entries.ends, e)
	c.options.Ladder.Take(e.tripped)
	if e.action == Shadow {
		e.shadow = c.entries.shadows.PushBack(e)
	}
	if p, ok := e.table.widened(e.prefix); ok && !e.wide {
		e.table.inside[p]++
	}
}

func (c *Counter) remove(e *entry) {
	delete(c.entries.byKey, e.key())
	delete(c.entries.going, e.key())
	c.options.Ladder.Give(e.tripped)
	if e.shadow != nil {
		c.entries.shadows.Remove(e.shadow)
	}
	if p, ok := e.table.widened(e.prefix); ok && !e.wide {
		if e.table.inside[p]--; e.table.inside[p] <= 0 {
			delete(e.table.inside, p)
		}
	}
	if 2*len(c.entries.byKey)+1024 < len(c.entries.ends) {
		c.entries.ends.compact(c.entries.byKey)
	}
}

// expire removes the entries past their deadline.
func (c *Counter) expire(now policy.Deadline) {
	for len(c.entries.ends) > 0 && c.entries.ends[0].until <= now {
		e := heap.Pop(&c.entries.ends).(*entry)
		if c.entries.byKey[e.key()] == e {
			c.remove(e)
		}
	}
}

// heldBy returns the entry that a source is under, or nil. An entry that the breaker has made a
// shadow holds its source only while the breaker is open.
func (c *Counter) heldBy(t *table, p netip.Prefix, now policy.Deadline) *entry {
	e := c.entries.at(t, p)
	if e == nil && len(t.inside) > 0 {
		if wide, ok := t.widened(p); ok {
			e = c.entries.at(t, wide)
		}
	}
	if e == nil || e.tripped && !c.options.Ladder.Calm(now).Open {
		return nil
	}
	return e
}

// onTheWay is how long after a ban its source may still be told of: packets were on the way, and
// their program or its log is slow.
const onTheWay = policy.Deadline(30 * time.Second)

// goesOn notes an event of a source that is banned. It must not come in any more.
func (s *entries) goesOn(e *entry, at policy.Deadline) {
	if e.action != Block || at < e.decided+onTheWay {
		return
	}
	e.later++
	s.going[e.key()] = e
}

// Going is a banned source that goes on.
type Going struct {
	Rule   string
	Prefix netip.Prefix
	Events uint64 // since shortly after the ban
}

// GoingOn returns the banned sources that go on.
func (c *Counter) GoingOn() []Going {
	all := make([]Going, 0, len(c.entries.going))
	for _, e := range c.entries.going {
		all = append(all, Going{e.table.rule.Name, e.prefix, e.later})
	}
	return all
}

// Live is a live entry of a rule, which the daemon passes to Adopt.
type Live struct {
	Rule   string
	Prefix netip.Prefix
	Action Action
	Points int
	Until  policy.Deadline
}

// Adopt takes over entries of an earlier run or configuration, which are in force, without a
// decision. Entries of rules that no longer exist are left out.
func (c *Counter) Adopt(now policy.Deadline, live []Live) {
	for _, l := range live {
		t := c.byName[l.Rule]
		if t == nil || l.Until <= now || !l.Prefix.IsValid() {
			continue
		}
		p := l.Prefix.Masked()
		c.put(&entry{
			table: t, prefix: p, action: l.Action, until: l.Until, decided: now, points: l.Points,
			// Only the breaker makes shadow entries for a rule that bans.
			tripped: l.Action == Shadow && t.rule.Action != Shadow, wide: p.Bits() < t.rule.Per.Of(p.Addr().Is4()),
		})
	}
}

// Remove drops an entry that is no longer in force: an operator removed it, or it could not be
// put. Its source is counted from 0.
func (c *Counter) Remove(rule string, p netip.Prefix) {
	if t := c.byName[rule]; t != nil {
		if e := c.entries.at(t, p); e != nil {
			c.remove(e)
		}
	}
}

// byEnd is a heap of entries.
type byEnd []*entry

func (h byEnd) Len() int           { return len(h) }
func (h byEnd) Less(i, j int) bool { return h[i].until < h[j].until }
func (h byEnd) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byEnd) Push(x any)        { *h = append(*h, x.(*entry)) }

// Pop implements heap.Interface.
func (h *byEnd) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	return last
}

// compact drops the entries that are gone.
func (h *byEnd) compact(live map[entryKey]*entry) {
	kept := (*h)[:0]
	for _, e := range *h {
		if live[e.key()] == e {
			kept = append(kept, e)
		}
	}
	clear((*h)[len(kept):])
	*h = kept
	heap.Init(h)
}
