package events

import (
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// exceed decides about a source that an event has brought above the limit. Its points are used
// up, whatever the decision.
func (c *Counter) exceed(t *table, s *source, at, now policy.Deadline, o *Outcome) {
	evidence := s.evidence(&t.rule)
	if t.rule.Action == Alert {
		c.alert(t, s, evidence, at, now, o)
		return
	}
	c.size -= t.drop(s)
	e := &entry{table: t, prefix: s.prefix, points: evidence.Points, evidence: evidence}
	o.Result = c.decide(e, at, now)
	if o.Result != Banned {
		return
	}
	o.Action, o.Until = e.action, e.until
	c.widen(e, at, now)
}

// alert tells of a source, at most once in the time that a ban would last.
func (c *Counter) alert(t *table, s *source, evidence Evidence, at, now policy.Deadline, o *Outcome) {
	if s.quiet > at {
		return
	}
	until := after(at, t.rule.For)
	s.records, s.points = s.records[:0], 0
	if until <= now {
		o.Result = Old
		return
	}
	s.quiet = until
	evidence.Seen = slices.Clone(evidence.Seen)
	o.Result, o.Action = Alerted, Alert
	c.decisions = append(c.decisions, Decision{
		Kind: ladder.Made, Rule: t.rule.Name, Prefix: s.prefix, Action: Alert, For: t.rule.For, Until: until,
		Evidence: evidence,
	})
}

// next returns the number of the next offence of a source, and the length of its ban.
func (c *Counter) next(t *table, p netip.Prefix, now policy.Deadline) (offence int, ttl time.Duration) {
	offence = min(c.options.Ladder.Offences(t.key(p), now)+1, ladder.MaxOffences)
	return offence, t.rule.Escalate.TTL(t.rule.For, offence)
}

func (t *table) key(p netip.Prefix) ladder.Key { return ladder.Key{Origin: t.origin, Prefix: p} }

// decide makes e an entry of its rule, by an event at a time.
func (c *Counter) decide(e *entry, at, now policy.Deadline) Result {
	t := e.table
	offence, ttl := c.next(t, e.prefix, now)
	until := after(at, ttl)
	if until <= now {
		return Old
	}
	e.action, e.until, e.decided = t.rule.Action, until, now
	// A shadow rule bans no source, so its decisions do not count for the breaker.
	if e.action != Shadow && c.options.Ladder.Ban(now) {
		e.action, e.tripped = Shadow, true
	}
	if c.entries.at(e.table, e.prefix) == nil && !c.makeRoom(e) {
		return NoRoom
	}
	e.evidence.Offence = offence
	if !e.tripped {
		c.options.Ladder.Remember(t.key(e.prefix), t.rule.Escalate, offence, until, now)
	}
	c.put(e)
	c.decisions = append(c.decisions, e.decision(ladder.Made, ttl))
	return Banned
}

func (e *entry) decision(kind ladder.Kind, ttl time.Duration) Decision {
	d := Decision{
		Kind: kind, Rule: e.table.rule.Name, Prefix: e.prefix, Action: e.action, Tripped: e.tripped,
		For: ttl, Until: e.until, Evidence: e.evidence,
	}
	if e.action == Limit {
		d.Rate = e.table.rule.Rate
	}
	e.evidence = Evidence{} // the book has it
	return d
}

// widen decides about the wider prefix of a new offender if it contains enough of them. It does
// nothing while the breaker is open, when too many sources offend anyway.
func (c *Counter) widen(e *entry, at, now policy.Deadline) {
	p, ok := e.table.widened(e.prefix)
	if !ok || c.options.Ladder.Breaker().Open || c.entries.at(e.table, p) != nil {
		return
	}
	sources := e.table.inside[p]
	if sources < e.table.rule.Widen.Sources || c.exempt(p) != "" {
		return
	}
	made := c.decisions[len(c.decisions)-1]
	wide := &entry{table: e.table, prefix: p, points: e.points, wide: true, evidence: made.Evidence}
	wide.evidence.Sources = sources
	c.decide(wide, at, now)
}

// widened returns the wider prefix in which p counts as an offender. It reports false if the rule
// does not widen it. An address that counts by itself is in a network that is left alone, so that
// is not widened.
func (t *table) widened(p netip.Prefix) (netip.Prefix, bool) {
	is4 := p.Addr().Is4()
	to := t.rule.Widen.To(is4)
	if to == 0 || to >= p.Bits() || p.Bits() != t.rule.Per.Of(is4) {
		return netip.Prefix{}, false
	}
	wide, err := p.Addr().Prefix(to)
	return wide, err == nil
}

// makeRoom reports whether there is room for e. An entry that only counts makes room for a ban.
// A ban never makes room: only its source could show that it has stopped, and it is silent while
// it is banned.
func (c *Counter) makeRoom(e *entry) bool {
	for {
		full, tooMany := c.options.Ladder.Full(e.tripped)
		if !full || tooMany {
			return !tooMany
		}
		if e.action == Shadow || c.entries.shadows.Len() == 0 {
			return false
		}
		victim := c.entries.shadows.Front().Value.(*entry)
		c.remove(victim)
		c.decisions = append(c.decisions, victim.decision(ladder.Lifted, 0))
	}
}
