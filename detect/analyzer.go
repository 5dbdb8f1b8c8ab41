package detect

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/paraxial/paraxial/policy"
)

// Options are what an Analyzer works with besides its detectors.
type Options struct {
	Tracked int // slots there can be
	MaxBans int // entries at once; the oldest makes room for a new one
	// BansPerMinute trips the circuit breaker; 0 for none.
	BansPerMinute int
	// Exempt tells which prefixes must be left alone, and why: allowed,
	// protected by the guard, part of a proxy. Nil for none.
	Exempt func(netip.Prefix) (reason string, exempt bool)
	// About returns what samples have shown of a source. Nil if there are none.
	About func(netip.Prefix) About
}

// Analyzer decides from exact counters. It is not safe for concurrent use.
type Analyzer struct {
	options   Options
	detectors []Detector
	index     map[string]int // detector by name
	windows   []*window
	memory    memory
	entries   entries
	breaker   *breaker
	stats     []DetectorStats

	now     policy.Deadline // of the last tick
	started bool
	retry   policy.Deadline // when spared sources are looked at again

	slots     []slot
	above     []candidate // in this tick
	decisions []Decision
	spared    []Spared
}

// slot is the source that a slot holds now.
type slot struct {
	source netip.Prefix
	began  policy.Deadline
	seen   policy.Deadline // when a counter last moved
	tick   policy.Deadline // when it was last among the counts
	mask   DetectorSet     // detectors that count such prefixes
	held   DetectorSet     // detectors with nothing more to decide: acted upon, or spared
	spared DetectorSet     // detectors that have said so
}

// candidate is a slot above the limit of a detector.
type candidate struct {
	detector int
	slot     uint32
}

// NewAnalyzer returns an analyzer of detectors that CheckAll accepts.
func NewAnalyzer(list []Detector, o Options) *Analyzer {
	a := &Analyzer{
		options:   o,
		detectors: slices.Clone(list),
		index:     make(map[string]int, len(list)),
		memory:    memory{capacity: max(4*o.MaxBans, 1024), offences: map[entryKey]offence{}},
		entries:   newEntries(),
		breaker:   newBreaker(o.BansPerMinute),
		stats:     make([]DetectorStats, len(list)),
	}
	for n, d := range list {
		a.index[d.Name] = n
		a.windows = append(a.windows, newWindow(d))
	}
	return a
}

// Tick takes in the counters of all tracked sources at boot time now, and
// returns what is to be done about them, ordered. What it returns is good until
// the next Tick. Ticks may come late or be missed.
func (a *Analyzer) Tick(now policy.Deadline, counts []Counts) []Decision {
	a.decisions, a.spared, a.above = a.decisions[:0], a.spared[:0], a.above[:0]
	before := a.now
	if !a.started {
		before, a.started = now, true
	}
	now = max(now, before)
	a.expire(now)
	if a.breaker.calm(now) {
		a.release(func(e *entry) bool { return e.tripped })
	}
	if now >= a.retry {
		a.retry = now + retryAfter
		a.release(nil)
	}
	for _, w := range a.windows {
		w.turn(before, now)
	}
	a.count(before, now, counts)
	slices.SortFunc(a.above, func(x, y candidate) int {
		return cmp.Or(a.slots[x.slot].source.Compare(a.slots[y.slot].source), cmp.Compare(x.detector, y.detector))
	})
	for _, c := range a.above {
		a.judge(c, now)
	}
	a.extend(now)
	a.now = now
	return a.decisions
}

// Spared returns the sources that the last Tick found above a limit for the
// first time and left alone. It is good until the next Tick.
func (a *Analyzer) Spared() []Spared { return a.spared }

// count adds all counters to the windows and gathers those above their limit.
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
			if s.spared>>d&1 == 1 && w.sums[c.Slot] <= w.threshold/2 {
				s.spared &^= 1 << d
			}
		}
	}
}

// settle puts a new source into a slot. What it has sent so far counts if it
// was all sent since the tick before; otherwise nobody knows when it was.
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

// maskOf returns the detectors whose sources have the length of p.
func (a *Analyzer) maskOf(p netip.Prefix) DetectorSet {
	var mask DetectorSet
	for n, d := range a.detectors {
		if d.Per.of(p.Addr().Is4()) == p.Bits() {
			mask |= 1 << n
		}
	}
	return mask
}

func (p Per) of(is4 bool) int {
	if is4 {
		return p.IPv4
	}
	return p.IPv6
}

// growTo makes room for a slot, if it is one that there can be.
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

// Activity is how busy a tracked source is.
type Activity struct {
	Slot   uint32
	Source netip.Prefix
	Began  policy.Deadline
	Seen   policy.Deadline // when it last sent anything that is counted
	Share  float64         // of the limit that it is nearest to; 1 is at the limit
}

// Activities appends the sources that the last Tick had counters of, by slot.
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

// Present is a source that the last Tick had counters of.
type Present struct {
	Source netip.Prefix
	Began  policy.Deadline
	// Shares are the rates as parts of the limits, by detector: 1 is at the limit.
	Shares [MaxDetectors]float64
}

// Presents calls f for each of them, by slot.
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
