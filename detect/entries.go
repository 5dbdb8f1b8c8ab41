package detect

import (
	"cmp"
	"container/list"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// entry is a live entry of a detector.
type entry struct {
	entryKey
	action  Action
	tripped bool // shadow because of the breaker
	ttl     time.Duration
	until   policy.Deadline
	order   *list.Element
	slot    int64 // of the source; -1 if it has none
	wide    bool
	offence int
	sources int // distinct offenders, of a wide one
	first   policy.Deadline
	about   About
	drops   dropRate
}

// entries are the live ones, in the order of the last decision on each.
type entries struct {
	byKey  map[entryKey]*entry
	order  *list.List       // of *entry, the oldest first
	inside map[entryKey]int // live narrow entries below a wider prefix
	wide   int
}

func newEntries() entries {
	return entries{byKey: map[entryKey]*entry{}, order: list.New(), inside: map[entryKey]int{}}
}

// put adds e, in place of what has its key.
func (a *Analyzer) put(e *entry) {
	if old := a.entries.byKey[e.entryKey]; old != nil {
		a.remove(old)
	}
	a.entries.byKey[e.entryKey] = e
	e.order = a.entries.order.PushBack(e)
	if e.wide {
		a.entries.wide++
	} else if k, ok := a.widened(e.entryKey); ok {
		a.entries.inside[k]++
	}
	a.hold(e)
}

// remove takes e out, so that its source can be decided upon again.
func (a *Analyzer) remove(e *entry) {
	delete(a.entries.byKey, e.entryKey)
	a.entries.order.Remove(e.order)
	if s := a.slotOf(e); s != nil {
		s.held &^= 1 << e.detector
	}
	if e.wide {
		a.entries.wide--
		a.releaseInside(e)
		return
	}
	if k, ok := a.widened(e.entryKey); ok {
		if a.entries.inside[k]--; a.entries.inside[k] <= 0 {
			delete(a.entries.inside, k)
		}
	}
}

// releaseInside lets sources be decided upon again that a wide entry covered.
func (a *Analyzer) releaseInside(e *entry) {
	for n := range a.slots {
		s := &a.slots[n]
		if s.held>>e.detector&1 == 0 || !e.prefix.Contains(s.source.Addr()) {
			continue
		}
		if a.entries.byKey[entryKey{e.detector, s.source}] == nil {
			s.held &^= 1 << e.detector
		}
	}
}

// widened returns the wider prefix that k is an offender in, if its detector widens.
func (a *Analyzer) widened(k entryKey) (entryKey, bool) {
	to := a.detectors[k.detector].Widen.to(k.prefix.Addr().Is4())
	if to == 0 || to >= k.prefix.Bits() {
		return entryKey{}, false
	}
	wide, err := k.prefix.Addr().Prefix(to)
	return entryKey{k.detector, wide}, err == nil
}

// hold notes that there is nothing to decide about the source of e.
func (a *Analyzer) hold(e *entry) {
	if s := a.slotOf(e); s != nil {
		s.held |= 1 << e.detector
	}
}

// slotOf returns the slot that holds the source of e, nil if none does.
func (a *Analyzer) slotOf(e *entry) *slot {
	if e.slot < 0 || e.slot >= int64(len(a.slots)) || a.slots[e.slot].source != e.prefix {
		return nil
	}
	return &a.slots[e.slot]
}

// expire removes the entries whose time has come.
func (a *Analyzer) expire(now policy.Deadline) {
	var next *list.Element
	for at := a.entries.order.Front(); at != nil; at = next {
		next = at.Next()
		if e := at.Value.(*entry); e.until <= now {
			a.remove(e)
		}
	}
}

// release lets the sources of some entries be decided upon again; with nil
// those that were held without an entry of their own, because they were spared.
func (a *Analyzer) release(which func(*entry) bool) {
	if which == nil {
		for n := range a.slots {
			a.slots[n].held &^= a.slots[n].spared
		}
		return
	}
	for at := a.entries.order.Front(); at != nil; at = at.Next() {
		e := at.Value.(*entry)
		if s := a.slotOf(e); s != nil && which(e) {
			s.held &^= 1 << e.detector
		}
	}
}

// makeRoom lifts the oldest entries until there is room for one more.
func (a *Analyzer) makeRoom(now policy.Deadline) {
	for len(a.entries.byKey) > 0 && len(a.entries.byKey) >= a.options.MaxBans {
		e := a.entries.order.Front().Value.(*entry)
		a.remove(e)
		a.stats[e.detector].Lifted++
		a.decisions = append(a.decisions, a.decision(Lifted, e, now, a.evidence(e, now)))
	}
}

// Entry is a live entry of a detector, for the daemon to give back after a
// restart.
type Entry struct {
	Detector string
	Prefix   netip.Prefix
	Action   Action
	Tripped  bool          // Action is Shadow because of the circuit breaker
	TTL      time.Duration // that it was given
	Until    policy.Deadline
}

// Entries returns the live entries, by prefix and detector.
func (a *Analyzer) Entries() []Entry {
	var live []*entry
	for _, e := range a.entries.byKey {
		live = append(live, e)
	}
	slices.SortFunc(live, func(x, y *entry) int { return x.entryKey.compare(y.entryKey) })
	out := make([]Entry, 0, len(live))
	for _, e := range live {
		out = append(out, Entry{a.detectors[e.detector].Name, e.prefix, e.action, e.tripped, e.ttl, e.until})
	}
	return out
}

// Adopt makes entries of an earlier run or configuration live, as they are in
// force, without a decision. Those of detectors that are no more are left out.
func (a *Analyzer) Adopt(now policy.Deadline, live []Entry) {
	live = slices.Clone(live)
	// The order in which they will make room: those that end first go first.
	slices.SortFunc(live, func(x, y Entry) int {
		return cmp.Or(cmp.Compare(x.Until, y.Until), x.Prefix.Compare(y.Prefix), cmp.Compare(x.Detector, y.Detector))
	})
	for _, l := range live {
		d, known := a.index[l.Detector]
		if !known || l.Until <= now || !l.Prefix.IsValid() {
			continue
		}
		k := entryKey{d, l.Prefix.Masked()}
		wide := k.prefix.Bits() < a.detectors[d].Per.of(k.prefix.Addr().Is4())
		a.put(&entry{entryKey: k, action: l.Action, tripped: l.Tripped, ttl: max(l.TTL, a.detectors[d].For), until: l.Until,
			slot: a.find(k.prefix), wide: wide, offence: max(a.memory.count(k, now), 1), first: now})
	}
}

// find returns the slot that holds a source, -1 if none does.
func (a *Analyzer) find(p netip.Prefix) int64 {
	for n := range a.slots {
		if a.slots[n].source == p && a.slots[n].tick == a.now {
			return int64(n)
		}
	}
	return -1
}

// Remove tells that an entry is no longer in force: an operator took it out, or
// it could not be put. Its source is decided upon again if it goes on.
func (a *Analyzer) Remove(detector string, p netip.Prefix) {
	d, known := a.index[detector]
	if !known {
		return
	}
	if e := a.entries.byKey[entryKey{d, p}]; e != nil {
		a.remove(e)
	}
}
