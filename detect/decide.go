package detect

import (
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// retryAfter is the time after which the analyzer asks again whether a spared source
// is still exempt.
const retryAfter = policy.Deadline(5 * time.Second)

func trailingZeros(c DetectorSet) int { return bits.TrailingZeros16(uint16(c)) }

// judge decides about a slot that is above the limit of a detector and not held.
func (a *Analyzer) judge(c candidate, now policy.Deadline) {
	s := &a.slots[c.slot]
	k := entryKey{c.detector, s.source}
	old := a.entries.byKey[k]
	switch {
	case old != nil && (!old.tripped || a.options.Ladder.Breaker().Open):
		old.slot = int64(c.slot) // the entry was adopted, or the source has another slot now
		a.hold(old)
		return
	case old == nil && a.covered(k):
		s.held |= 1 << c.detector
		return
	case old == nil && a.stillRefused(k, s, now):
		a.refuse(k, s)
		return
	}
	e := &entry{entryKey: k, slot: int64(c.slot), first: s.began, about: a.about(k.prefix)}
	if reason, exempt := a.exempt(k.prefix); exempt {
		if a.split(k.prefix, now) {
			reason += "; its addresses are judged one by one"
		}
		a.spare(e, s, reason, now)
		return
	}
	if !a.decide(e, now) {
		a.refuse(k, s)
		return
	}
	a.widen(k, c, now)
}

// covered reports whether a wide entry of the same detector covers k.
func (a *Analyzer) covered(k entryKey) bool {
	if a.entries.wide == 0 {
		return false
	}
	wide, ok := a.widened(k)
	return ok && a.entries.byKey[wide] != nil
}

func (a *Analyzer) exempt(p netip.Prefix) (string, bool) {
	if a.options.Exempt == nil {
		return "", false
	}
	return a.options.Exempt(p)
}

func (a *Analyzer) isExempt(p netip.Prefix) bool {
	_, exempt := a.exempt(p)
	return exempt
}

func (a *Analyzer) about(p netip.Prefix) About {
	if a.options.About == nil {
		return About{}
	}
	about := a.options.About(p)
	about.Ports = slices.Clone(about.Ports)
	return about
}

// spare leaves a source alone. It reports the source once while it stays busy.
func (a *Analyzer) spare(e *entry, s *slot, reason string, now policy.Deadline) {
	s.held |= 1 << e.detector
	if s.spared>>e.detector&1 == 1 {
		return
	}
	s.spared |= 1 << e.detector
	a.stats[e.detector].Spared++
	a.spared = append(a.spared, Spared{a.detectors[e.detector].Name, e.prefix, reason, a.evidence(e, now)})
}

// decide makes e the entry of its key. It reports false if there is no room for it.
func (a *Analyzer) decide(e *entry, now policy.Deadline) bool {
	d := &a.detectors[e.detector]
	e.action = d.Action
	// A shadow detector bans no source, so its decisions do not count for the breaker.
	if d.Action != Shadow && a.options.Ladder.Ban(now) {
		e.action, e.tripped = Shadow, true
	}
	old := a.entries.byKey[e.entryKey]
	if old == nil && !a.makeRoom(e.action, e.tripped, now) {
		return false
	}
	e.offence = min(a.offences(e.entryKey, now)+1, ladder.MaxOffences)
	e.ttl = d.Escalate.TTL(d.For, e.offence)
	e.until, e.decided = policy.After(now, e.ttl), now
	if !e.tripped {
		a.remember(e, now)
	}
	a.put(e) // replaces old
	a.stats[e.detector].note(e)
	a.decisions = append(a.decisions, a.decision(New, e, now, a.evidence(e, now)))
	return true
}

func (a *Analyzer) remember(e *entry, now policy.Deadline) {
	a.options.Ladder.Remember(a.offender(e.entryKey), a.detectors[e.detector].Escalate, e.offence, e.until, now)
}

// widen decides about the wider prefix of a new offender if it contains enough of
// them. It does nothing while the breaker is open, when too many sources offend anyway.
func (a *Analyzer) widen(k entryKey, c candidate, now policy.Deadline) {
	wide, ok := a.widened(k)
	if !ok || a.options.Ladder.Breaker().Open || a.entries.byKey[wide] != nil {
		return
	}
	sources := a.entries.inside[wide]
	if sources < a.detectors[k.detector].Widen.Sources {
		return
	}
	e := &entry{
		entryKey: wide, slot: int64(c.slot), first: a.slots[c.slot].began,
		wide: true, sources: sources, about: a.about(k.prefix),
	}
	if reason, exempt := a.exempt(wide.prefix); exempt {
		a.stats[k.detector].Spared++
		a.spared = append(a.spared, Spared{a.detectors[k.detector].Name, wide.prefix, reason, a.evidence(e, now)})
		return
	}
	if !a.decide(e, now) {
		a.stats[k.detector].NoRoom++
	}
}

func (a *Analyzer) decision(kind Kind, e *entry, now policy.Deadline, evidence Evidence) Decision {
	d := &a.detectors[e.detector]
	return Decision{
		Kind: kind, Detector: d.Name, Prefix: e.prefix, Action: e.action, Tripped: e.tripped,
		Limit: d.Limit, For: e.ttl, Until: e.until, Evidence: evidence,
	}
}

// evidence returns the present evidence against the source of e. For a wide entry it is
// the evidence against the source that caused the widening.
func (a *Analyzer) evidence(e *entry, now policy.Deadline) Evidence {
	d, w := &a.detectors[e.detector], a.windows[e.detector]
	ev := Evidence{
		Rate: policy.Rate{Unit: d.Limit.Unit}, Limit: d.Limit, Window: d.Window, First: e.first, Last: now,
		Ports: slices.Clone(e.about.Ports), Offence: e.offence, Sources: e.sources,
	}
	if e.slot >= 0 && e.slot < int64(len(a.slots)) && e.prefix.Overlaps(a.slots[e.slot].source) {
		slot := uint32(e.slot)
		ev.Count = w.count(slot)
		ev.Rate = w.rate(ev.Count, w.since(slot, now), now)
	}
	if dropped := a.dropped(e); dropped > 0 {
		ev.Rate.PerSecond += uint64(dropped)
		ev.Count += uint64(dropped * d.Window.Seconds())
	}
	return ev
}
