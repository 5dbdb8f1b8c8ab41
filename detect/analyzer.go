package detect

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// Options are the settings of an Analyzer besides its detectors.
type Options struct {
	Tracked int // number of slots
	// Ladder bounds the entries, and has the circuit breaker and the repeat offenders. See
	// makeRoom for the entries that make room for a new one. Nil is a ladder of its own, with
	// MaxBans and BansPerMinute.
	Ladder        *ladder.Ladder
	MaxBans       int // most entries at once
	BansPerMinute int // the rate above which the breaker opens; 0 is no breaker
	// Exempt reports whether a prefix must be left alone, and why: it is allowed,
	// protected by the guard, or part of a proxy. Nil exempts nothing.
	Exempt func(netip.Prefix) (reason string, exempt bool)
	// PartlyExempt reports whether an exempt prefix is exempt only because of a part of
	// it. Its addresses are then judged one by one. Nil is never.
	PartlyExempt func(netip.Prefix) bool
	// About returns what samples have shown about a source. Nil if there are no samples.
	About func(netip.Prefix) About
}

// Analyzer makes decisions from exact counters. It is not safe for concurrent use.
type Analyzer struct {
	options   Options
	detectors []Detector
	index     map[string]int // detector number by name
	windows   []*window
	entries   entries
	closed    uint64                           // how often the breaker had closed at the last tick
	splits    map[netip.Prefix]policy.Deadline // see split
	stats     []DetectorStats

	now     policy.Deadline // of the last tick
	started bool
	retry   policy.Deadline // when spared sources are judged again

	slots     []slot
	above     []candidate // found in this tick
	decisions []Decision
	spared    []Spared
	victims   victims
}

// slot is a slot of the tracking table and the source in it.
type slot struct {
	source netip.Prefix
	began  policy.Deadline
	seen   policy.Deadline // when a counter last changed
	tick   policy.Deadline // last tick that had counters of it
	mask   DetectorSet     // detectors that count prefixes of this length
	held   DetectorSet     // detectors that need not decide: there is an entry, or the source is exempt
	spared DetectorSet     // detectors that have reported the source as spared
	// refused are the detectors that made no entry because there was no room.
	refused DetectorSet
}

// candidate is a slot above the limit of a detector.
type candidate struct {
	detector int
	slot     uint32
}

// NewAnalyzer returns an analyzer of detectors that CheckAll accepts.
func NewAnalyzer(list []Detector, o Options) *Analyzer {
	if o.Ladder == nil {
		o.Ladder = ladder.New(o.MaxBans, o.BansPerMinute)
	}
	a := &Analyzer{
		options:   o,
		detectors: slices.Clone(list),
		index:     make(map[string]int, len(list)),
		entries:   newEntries(),
		closed:    o.Ladder.Breaker().Closed(),
		splits:    map[netip.Prefix]policy.Deadline{},
		stats:     make([]DetectorStats, len(list)),
	}
	for n, d := range list {
		a.index[d.Name] = n
		a.windows = append(a.windows, newWindow(d))
	}
	return a
}

// Tick takes the counters of all tracked sources at boot time now and returns the
// decisions about them, in order. The result is valid until the next Tick. A tick may
// be late or missing.
func (a *Analyzer) Tick(now policy.Deadline, counts []Counts) []Decision {
	a.decisions, a.spared, a.above, a.victims = a.decisions[:0], a.spared[:0], a.above[:0], victims{}
	before := a.now
	if !a.started {
		before, a.started = now, true
	}
	now = max(now, before)
	a.expire(now)
	a.expireSplits(now)
	if closed := a.options.Ladder.Calm(now).Closed(); closed != a.closed {
		a.closed = closed
		a.releaseTripped()
	}
	if now >= a.retry {
		a.retry = now + retryAfter
		a.release()
	}
	for _, w := range a.windows {
		w.turn(before, now)
	}
	a.count(before, now, counts)
	a.now = now
	slices.SortFunc(a.above, func(x, y candidate) int {
		return cmp.Or(a.slots[x.slot].source.Compare(a.slots[y.slot].source), cmp.Compare(x.detector, y.detector))
	})
	for _, c := range a.above {
		a.judge(c, now)
	}
	a.extend(now)
	return a.decisions
}

// Spared returns the sources that the last Tick found above a limit for the first
// time and left alone. The result is valid until the next Tick.
func (a *Analyzer) Spared() []Spared { return a.spared }

// count adds all counters to the windows and collects the slots above a limit.
func (a *Analyzer) count(before, now policy.Deadline, counts []Counts) {
	for i := range counts {
		c := &counts[i]
		if c.Slot >= uint32(len(a.slots)) && !a.growTo(c.Slot) {
			continue
		}
		s := &a.slots[c.Slot]
		if s.source != c.Source || s.began != c.Began || s.tick != before {
			a.settle(s, c, before, now)
		}
		s.tick = now
		for rest := s.mask; rest != 0; rest &= rest - 1 {
			d := trailingZeros(rest)
			w := a.windows[d]
			if c.Values[d] == w.last[c.Slot] {
				continue
			}
			s.seen = now
			above := w.add(c.Slot, c.Values[d])
			if above && s.held>>d&1 == 0 {
				a.above = append(a.above, candidate{d, c.Slot})
			}
			if (s.spared|s.refused)>>d&1 == 1 && w.sums[c.Slot] <= w.threshold/2 {
				s.spared &^= 1 << d
				s.refused &^= 1 << d
			}
		}
	}
}

// settle puts a new source into a slot. Its counters so far are added only if they
// began after the previous tick; otherwise it is unknown when the packets were sent.
func (a *Analyzer) settle(s *slot, c *Counts, before, now policy.Deadline) {
	*s = slot{source: c.Source, began: c.Began, seen: now, mask: a.maskOf(c.Source)}
	recent := c.Began > 0 && c.Began >= before
	for d, w := range a.windows {
		value := c.Values[d]
		if recent {
			value = 0
		}
		w.reset(c.Slot, value)
	}
}

// maskOf returns the detectors that count prefixes of the length of p, or p as an address of
// a source that is split.
func (a *Analyzer) maskOf(p netip.Prefix) DetectorSet {
	var mask DetectorSet
	for n, d := range a.detectors {
		if d.Per.Of(p.Addr().Is4()) == p.Bits() || p.IsSingleIP() && a.splitFrom(&d, p.Addr()) {
			mask |= 1 << n
		}
	}
	return mask
}

// growTo makes room for slot s. It reports false if s is not a valid slot number.
func (a *Analyzer) growTo(s uint32) bool {
	if int64(s) >= int64(a.options.Tracked) {
		return false
	}
	n := min(max(2*len(a.slots), int(s)+1, 1024), a.options.Tracked)
	a.slots = grown(a.slots, n)
	for _, w := range a.windows {
		w.grow(n)
	}
	return true
}

// Activity describes how busy a tracked source is.
type Activity struct {
	Slot   uint32
	Source netip.Prefix
	Began  policy.Deadline
	Seen   policy.Deadline // when a packet of it was last counted
	Share  float64         // its rate divided by the limit it is nearest to
}

// Activities appends the sources of the last Tick, in the order of their slots.
func (a *Analyzer) Activities(list []Activity) []Activity {
	for n := range a.slots {
		s := &a.slots[n]
		if s.tick != a.now || !s.source.IsValid() {
			continue
		}
		act := Activity{Slot: uint32(n), Source: s.source, Began: s.began, Seen: s.seen}
		for rest := s.mask; rest != 0; rest &= rest - 1 {
			act.Share = max(act.Share, a.windows[trailingZeros(rest)].share(uint32(n), a.now-s.began))
		}
		list = append(list, act)
	}
	return list
}

// Present is a source of the last Tick.
type Present struct {
	Source netip.Prefix
	Began  policy.Deadline
	// Shares has for each detector the rate divided by its limit.
	Shares [MaxDetectors]float64
}

// Presents calls f for each source of the last Tick, in the order of their slots.
func (a *Analyzer) Presents(f func(Present)) {
	for n := range a.slots {
		s := &a.slots[n]
		if s.tick != a.now || !s.source.IsValid() {
			continue
		}
		p := Present{Source: s.source, Began: s.began}
		for rest := s.mask; rest != 0; rest &= rest - 1 {
			d := trailingZeros(rest)
			p.Shares[d] = a.windows[d].share(uint32(n), a.now-s.began)
		}
		f(p)
	}
}
