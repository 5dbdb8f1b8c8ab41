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
	tripped bool            // action is Shadow because of the breaker
	decided policy.Deadline // when it was made or last extended
	ttl     time.Duration
	until   policy.Deadline
	order   *list.Element
	slot    int64 // slot of the source; -1 if it has none
	wide    bool  // of a network, by widening
	offence int
	sources int // number of offenders in a wide entry
	first   policy.Deadline
	about   About
	drops   dropRate
}

// entries are the live entries, ordered by the last decision on each.
type entries struct {
	byKey  map[entryKey]*entry
	order  *list.List       // of *entry, the oldest first
	inside map[entryKey]int // number of live entries inside a wider prefix
	wide   int              // number of wide entries
}

func newEntries() entries {
	return entries{byKey: map[entryKey]*entry{}, order: list.New(), inside: map[entryKey]int{}}
}

// put adds e, and replaces the entry with the same key.
func (a *Analyzer) put(e *entry) {
	if old := a.entries.byKey[e.entryKey]; old != nil {
		a.remove(old)
	}
	a.entries.byKey[e.entryKey] = e
	e.order = a.entries.order.PushBack(e)
	a.options.Ladder.Take(e.tripped)
	if e.wide {
		a.entries.wide++
	} else if k, ok := a.widened(e.entryKey); ok {
		a.entries.inside[k]++
	}
	a.hold(e)
}

// remove removes e, so that its source is judged again.
func (a *Analyzer) remove(e *entry) {
	delete(a.entries.byKey, e.entryKey)
	a.entries.order.Remove(e.order)
	a.options.Ladder.Give(e.tripped)
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

// releaseInside has the sources that the wide entry e covered judged again.
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

// widened returns the wider prefix in which k counts as an offender. It reports false
// if the detector does not widen it. The network of an address of a split source contains
// an exempt address, so it is not widened.
func (a *Analyzer) widened(k entryKey) (entryKey, bool) {
	to := a.detectors[k.detector].Widen.To(k.prefix.Addr().Is4())
	if to == 0 || to >= k.prefix.Bits() || k.prefix.Bits() > a.detectors[k.detector].Per.Of(k.prefix.Addr().Is4()) {
		return entryKey{}, false
	}
	wide, err := k.prefix.Addr().Prefix(to)
	return entryKey{k.detector, wide}, err == nil
}

// hold marks that there is nothing to decide about the source of e.
func (a *Analyzer) hold(e *entry) {
	if s := a.slotOf(e); s != nil {
		s.held |= 1 << e.detector
	}
}

// slotOf returns the slot of the source of e, or nil.
func (a *Analyzer) slotOf(e *entry) *slot {
	if e.slot < 0 || e.slot >= int64(len(a.slots)) || a.slots[e.slot].source != e.prefix {
		return nil
	}
	return &a.slots[e.slot]
}

// expire removes the entries past their deadline.
func (a *Analyzer) expire(now policy.Deadline) {
	var next *list.Element
	for at := a.entries.order.Front(); at != nil; at = next {
		next = at.Next()
		if e := at.Value.(*entry); e.until <= now {
			a.remove(e)
		}
	}
}

// release has the sources judged again that have no entry: those that were spared, and
// those for which there was no room.
func (a *Analyzer) release() {
	for n := range a.slots {
		s := &a.slots[n]
		s.held &^= s.spared | s.refused
	}
}

// releaseTripped has the sources judged again that the open breaker kept from being
// banned. The breaker counts them again.
func (a *Analyzer) releaseTripped() {
	for n := range a.slots {
		s := &a.slots[n]
		s.held &^= s.refused
		s.refused = 0
	}
	for at := a.entries.order.Front(); at != nil; at = at.Next() {
		e := at.Value.(*entry)
		if s := a.slotOf(e); s != nil && e.tripped {
			s.held &^= 1 << e.detector
		}
	}
}

// Entry is a live entry of a detector. The daemon passes it to Adopt after a restart.
type Entry struct {
	Detector string
	Prefix   netip.Prefix
	Action   Action
	Tripped  bool          // Action is Shadow because of the circuit breaker
	TTL      time.Duration // the duration it was given
	Until    policy.Deadline
}

// Entries returns the live entries, sorted by prefix and detector.
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

// Adopt takes over entries of an earlier run or configuration, which are in force,
// without a decision. Entries of detectors that no longer exist are left out.
func (a *Analyzer) Adopt(now policy.Deadline, live []Entry) {
	live = slices.Clone(live)
	// Those that end first are lifted first to make room.
	slices.SortFunc(live, func(x, y Entry) int {
		return cmp.Or(cmp.Compare(x.Until, y.Until), x.Prefix.Compare(y.Prefix), cmp.Compare(x.Detector, y.Detector))
	})
	for _, l := range live {
		d, known := a.index[l.Detector]
		if !known || l.Until <= now || !l.Prefix.IsValid() {
			continue
		}
		k := entryKey{d, l.Prefix.Masked()}
		// Only the breaker makes shadow entries for a detector that bans. The book does not
		// record this.
		tripped := l.Tripped || l.Action == Shadow && a.detectors[d].Action != Shadow
		wide := k.prefix.Bits() < a.detectors[d].Per.Of(k.prefix.Addr().Is4())
		a.put(&entry{
			entryKey: k, action: l.Action, tripped: tripped, ttl: max(l.TTL, a.detectors[d].For), until: l.Until,
			slot: a.find(k.prefix), wide: wide, offence: max(a.offences(k, now), 1), first: now, decided: now,
		})
	}
}

// find returns the slot of a source, or -1.
func (a *Analyzer) find(p netip.Prefix) int64 {
	for n := range a.slots {
		if a.slots[n].source == p && a.slots[n].tick == a.now {
			return int64(n)
		}
	}
	return -1
}

// Remove drops an entry that is no longer in force: an operator removed it, or it could
// not be put. Its source is judged again if it continues.
func (a *Analyzer) Remove(detector string, p netip.Prefix) {
	d, known := a.index[detector]
	if !known {
		return
	}
	if e := a.entries.byKey[entryKey{d, p}]; e != nil {
		a.remove(e)
	}
}
