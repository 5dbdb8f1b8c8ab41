package detect

import (
	"time"

	"github.com/paraxial/paraxial/policy"
)

// dropRate measures the rate of drops of an entry, over half a window to a whole one.
type dropRate struct {
	packets    uint64 // total at the last observation
	at         policy.Deadline
	base       uint64 // total at the beginning of this measurement
	baseAt     policy.Deadline
	previous   uint64 // total at the beginning of the next measurement
	previousAt policy.Deadline
}

// observe adds an observation of the counter of an entry.
func (r *dropRate) observe(now policy.Deadline, packets uint64, window time.Duration) {
	if r.at == 0 || packets < r.packets { // the first observation, or the counter began again at 0
		*r = dropRate{packets, now, packets, now, packets, now}
		return
	}
	r.packets, r.at = packets, now
	if now-r.previousAt >= policy.Deadline(window)/2 {
		r.base, r.baseAt = r.previous, r.previousAt
		r.previous, r.previousAt = packets, now
	}
}

// perSecond returns the rate of drops. It is 0 if the last observation is too old or the
// measurement too short.
func (r *dropRate) perSecond(now policy.Deadline, window time.Duration) float64 {
	if r.at == 0 || now-r.at > policy.Deadline(window) || r.at-r.baseAt < policy.Deadline(window)/4 {
		return 0
	}
	return float64(r.packets-r.base) / time.Duration(r.at-r.baseAt).Seconds()
}

// Observe takes the number of packets that live entries have dropped so far. Call it
// four times or more in every window, before Tick. Drops of other entries are ignored.
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

// assumedLength is the packet length assumed when no sample was seen: that of the
// shortest frame.
const assumedLength = 64

// dropped returns the rate that an entry drops, in the unit of its limit.
func (a *Analyzer) dropped(e *entry) float64 {
	d := &a.detectors[e.detector]
	if e.action == Shadow {
		return 0 // shadow entries drop nothing: the counters of the source have it
	}
	rate := e.drops.perSecond(a.now, d.Window)
	if d.Limit.Unit == policy.Bytes {
		length := e.about.Length
		if length == 0 {
			length = assumedLength
		}
		rate *= float64(length)
	}
	return rate
}

// goesOn reports whether the source of e still sends more than the limit, dropped
// packets included.
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

// lead returns how long before its deadline an entry is considered for extension:
// early enough for the extension to reach the kernel in time.
func (d *Detector) lead() policy.Deadline {
	return policy.Deadline(min(2*time.Second, d.For/2))
}

// extend extends the entries that are about to end although the source has not stopped.
func (a *Analyzer) extend(now policy.Deadline) {
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
	e.until, e.decided = policy.After(now, e.ttl), now
	a.remember(e, now)
	if about := a.about(e.prefix); about.Length > 0 {
		e.about = about
	}
	a.stats[e.detector].Extended++
	a.decisions = append(a.decisions, a.decision(Extended, e, now, a.evidence(e, now)))
}
