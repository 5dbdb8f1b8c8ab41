package detect

import (
	"time"

	"github.com/paraxial/paraxial/policy"
)

// dropRate measures what an entry drops, over half a window to a whole one.
type dropRate struct {
	packets    uint64 // ever, as last told
	at         policy.Deadline
	base       uint64 // at the beginning of the measurement
	baseAt     policy.Deadline
	previous   uint64 // at the beginning of the next one
	previousAt policy.Deadline
}

// observe takes in the counter of an entry.
func (r *dropRate) observe(now policy.Deadline, packets uint64, window time.Duration) {
	if r.at == 0 || packets < r.packets { // the first, or counted anew
		*r = dropRate{packets, now, packets, now, packets, now}
		return
	}
	r.packets, r.at = packets, now
	if now-r.previousAt >= policy.Deadline(window)/2 {
		r.base, r.baseAt = r.previous, r.previousAt
		r.previous, r.previousAt = packets, now
	}
}

// perSecond returns the rate, and 0 unless it was told of lately.
func (r *dropRate) perSecond(now policy.Deadline, window time.Duration) float64 {
	if r.at == 0 || now-r.at > policy.Deadline(window) || r.at-r.baseAt < policy.Deadline(window)/4 {
		return 0
	}
	return float64(r.packets-r.base) / time.Duration(r.at-r.baseAt).Seconds()
}

// Observe takes in what live entries have dropped so far. It is to be called at
// least four times in every window, before Tick; others are passed over.
func (a *Analyzer) Observe(now policy.Deadline, drops []Drops) {
	for _, o := range drops {
		d, known := a.index[o.Detector]
		if !known {
			continue
		}
		if e := a.entries.byKey[entryKey{d, o.Prefix}]; e != nil {
			e.drops.observe(now, o.Packets, a.detectors[d].Window)
		}
	}
}

// smallest is taken for the length of packets that nobody has seen one of.
const smallest = 64

// dropped returns what an entry keeps from passing, in the unit of its limit.
func (a *Analyzer) dropped(e *entry) float64 {
	d := &a.detectors[e.detector]
	if e.action == Shadow {
		return 0 // passed, so it is in the counters of the source
	}
	rate := e.drops.perSecond(a.now, d.Window)
	if d.Limit.Unit == policy.Bytes {
		length := e.about.Length
		if length == 0 {
			length = smallest
		}
		rate *= float64(length)
	}
	return rate
}

// goesOn tells whether the source of e still sends more than the limit, whether
// it is dropped or not.
func (a *Analyzer) goesOn(e *entry) bool {
	d := &a.detectors[e.detector]
	rate := a.dropped(e)
	if s := a.slotOf(e); s != nil && s.tick == a.now {
		if a.windows[e.detector].above(uint32(e.slot)) {
			return true
		}
		rate += float64(a.windows[e.detector].count(uint32(e.slot))) / d.Window.Seconds()
	}
	return rate > float64(d.Limit.PerSecond)
}

// lead is how long before the end of an entry it is looked at whether it should
// end: early enough for the extension to reach the kernel in time.
func (d *Detector) lead() policy.Deadline {
	return policy.Deadline(min(2*time.Second, d.For/2))
}

// extend prolongs what is about to end although its source has not stopped.
func (a *Analyzer) extend(now policy.Deadline) {
	a.now = now
	last := a.entries.order.Back()
	for at := a.entries.order.Front(); at != nil; {
		e, here := at.Value.(*entry), at
		at = at.Next()
		if e.until-now <= a.detectors[e.detector].lead() && !e.tripped && a.goesOn(e) && !a.isExempt(e.prefix) {
			a.prolong(e, now)
			a.entries.order.MoveToBack(here)
		}
		if here == last {
			return
		}
	}
}

func (a *Analyzer) prolong(e *entry, now policy.Deadline) {
	e.until = policy.After(now, e.ttl)
	a.remember(e, now)
	if about := a.about(e.prefix); about.Length > 0 {
		e.about = about
	}
	a.stats[e.detector].Extended++
	a.decisions = append(a.decisions, a.decision(Extended, e, now, a.evidence(e, now)))
}
