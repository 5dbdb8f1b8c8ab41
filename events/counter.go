package events

import (
	"hash/maphash"
	"math"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// Options are the settings of a Counter besides its rules.
type Options struct {
	Ladder *ladder.Ladder // shared with the detectors
	// Memory bounds the sources that are counted, in bytes of memory. 0 is DefaultMemory.
	Memory int
	// Exempt returns why a source is left alone: OwnAddress, Proxy or Allowed. It returns ""
	// for a source that may be held. Nil exempts nothing. It is called for every event.
	Exempt func(netip.Prefix) Result
}

// DefaultMemory is the memory for the sources that are counted.
const DefaultMemory = 64 << 20

// minTime is before every event.
const minTime = policy.Deadline(math.MinInt64 / 2)

// isFuture is how far in the future a time must be to be told.
const isFuture = policy.Deadline(2 * time.Second)

// Counter counts events and makes decisions. It is not safe for concurrent use.
type Counter struct {
	options Options
	tables  []*table // in the order of the rules
	byName  map[string]*table
	unknown *table // counts the events of rules that do not exist
	entries entries
	seed    maphash.Seed
	size    int // memory of all sources

	decisions []Decision
}

// NewCounter returns a counter of rules that CheckAll accepts. If before is not nil, the new
// counter takes over its results, and the sources of rules that have not changed.
func NewCounter(rules []Rule, o Options, before *Counter) *Counter {
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	c := &Counter{
		options: o, byName: make(map[string]*table, len(rules)), unknown: newTable(Rule{}), entries: newEntries(),
		seed: maphash.MakeSeed(),
	}
	if before != nil {
		c.seed, c.unknown = before.seed, before.unknown
	}
	for _, r := range rules {
		t := newTable(r)
		if before != nil {
			c.inherit(t, before.byName[r.Name])
		}
		c.tables = append(c.tables, t)
		c.byName[r.Name] = t
	}
	return c
}

// Has reports whether there is a rule.
func (c *Counter) Has(rule string) bool { return c.byName[rule] != nil }

// inherit takes over what old has counted.
func (c *Counter) inherit(t, old *table) {
	if old == nil {
		return
	}
	t.results, t.evicted = old.results, old.evicted
	if old.rule == t.rule {
		t.sources, t.oldest, t.newest, t.size = old.sources, old.oldest, old.newest, old.size
		c.size += t.size
	}
}

// Add counts an event at boot time now. The time of the event may be in the past. A time in the
// future, and none, is taken as now.
func (c *Counter) Add(now policy.Deadline, e Event) Outcome {
	c.decisions = c.decisions[:0]
	c.expire(now)
	t := c.byName[e.Rule]
	if t == nil {
		c.unknown.tally(e.Reporter, UnknownRule)
		return Outcome{Result: UnknownRule}
	}
	for range 2 {
		c.dropIfOver(t, now)
	}
	at := e.At
	if at == 0 || at > now {
		at = now
	}
	o := c.add(t, &e, at, now)
	o.Limit, o.Decisions = t.rule.Limit, c.decisions
	if o.Future = e.At > now+isFuture; o.Future {
		t.tally(e.Reporter, Future)
	}
	t.tally(e.Reporter, o.Result)
	return o
}

// add is Add for an event of the rule of t with a time that is not in the future.
func (c *Counter) add(t *table, e *Event, at, now policy.Deadline) Outcome {
	if !e.Address.IsValid() || e.Address.Zone() != "" || e.Points < 0 || e.Points > MaxPoints {
		return Outcome{Result: Invalid}
	}
	address := e.Address.Unmap()
	if policy.IsBogon(address) {
		return Outcome{Result: Bogon}
	}
	p, result := c.sourceOf(t, address)
	switch {
	case result != "":
		return Outcome{Result: result}
	case e.Success:
		return c.succeed(t, p, e.User, at)
	}
	if held := c.heldBy(t, p, now); held != nil {
		c.entries.goesOn(held, at)
		return Outcome{Result: Held, Source: p, Points: held.points, Action: held.action, Until: held.until}
	}
	if c.isOld(t, p, at, now) {
		return Outcome{Result: Old}
	}
	return c.count(t, e, p, at, now)
}

// sourceOf returns the prefix that an address counts for, or why it is left alone. If its network
// is left alone because of other addresses, it counts by itself.
func (c *Counter) sourceOf(t *table, address netip.Addr) (netip.Prefix, Result) {
	p, err := address.Prefix(t.rule.Per.Of(address.Is4()))
	if err != nil {
		return p, Invalid
	}
	result := c.exempt(p)
	if result == "" || p.IsSingleIP() {
		return p, result
	}
	p = netip.PrefixFrom(address, address.BitLen())
	return p, c.exempt(p)
}

func (c *Counter) exempt(p netip.Prefix) Result {
	if policy.HasBogon(p) {
		return Bogon
	}
	if c.options.Exempt == nil {
		return ""
	}
	return c.options.Exempt(p)
}

// succeed carries out a success: the failures of the user before it do not count any more.
func (c *Counter) succeed(t *table, p netip.Prefix, user string, at policy.Deadline) Outcome {
	o := Outcome{Result: Succeeded, Source: p}
	s := t.sources[p]
	if s == nil {
		return o
	}
	if t.rule.Success == ResetSuccess {
		hash := c.hash(user)
		s.removeIf(func(r record) bool { return r.user == hash && r.at <= at })
	}
	o.Points = s.points
	return o
}

// isOld reports whether an event can lead to no ban that is not over, neither by itself nor
// together with later ones.
func (c *Counter) isOld(t *table, p netip.Prefix, at, now policy.Deadline) bool {
	if after(at, t.rule.For+t.rule.Window) > now {
		return false
	}
	_, ttl := c.next(t, p, now)
	return after(at, ttl+t.rule.Window) <= now
}

// count adds an event to its source, and decides if the source is above the limit then.
func (c *Counter) count(t *table, e *Event, p netip.Prefix, at, now policy.Deadline) Outcome {
	points := max(e.Points, 1)
	s := t.touch(p, now)
	if !s.counts(e.End) {
		return Outcome{Result: Ended, Source: p, Points: s.points}
	}
	r := record{at: at, points: int32(points), user: c.hash(e.User)}
	switch t.rule.Distinct {
	case DistinctUser:
		r.value = r.user
	case DistinctPath:
		r.value = c.hash(e.Path)
	}
	o := Outcome{Result: Counted, Source: p}
	if !s.add(&t.rule, r) {
		c.size += t.measure(s)
		o.Result, o.Points = Old, s.points
		return o
	}
	s.note(e, at, points)
	s.reporter = e.Reporter
	c.size += t.measure(s)
	o.Points = s.points
	if s.points > t.rule.Limit {
		c.exceed(t, s, at, now, &o)
	}
	c.evict(s)
	return o
}

// after is policy.After for an event, which may have happened before boot. The time fits, because
// it is at most a few years after now.
func after(at policy.Deadline, d time.Duration) policy.Deadline { return at + policy.Deadline(d) }

func (c *Counter) hash(s string) uint64 { return maphash.String(c.seed, s) }

// evict drops sources while they take too much memory: each time the source of the rule with the
// most memory that has had no event for the longest time. So the events of one rule do not push
// out the sources of others. It never drops last.
func (c *Counter) evict(last *source) {
	for c.size > c.options.Memory {
		largest := c.tables[0]
		for _, t := range c.tables {
			if t.size > largest.size {
				largest = t
			}
		}
		if largest.oldest == nil || largest.oldest == last {
			return
		}
		c.size -= largest.drop(largest.oldest)
		largest.evicted++
	}
}

// dropIfOver drops the source with the oldest event if nothing that it holds matters any more.
func (c *Counter) dropIfOver(t *table, now policy.Deadline) {
	if s := t.oldest; s != nil && s.isOver(&t.rule, now) {
		c.size -= t.drop(s)
	}
}
