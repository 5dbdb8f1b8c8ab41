package detect

import (
	"math"
	"math/bits"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// maxColumns is in how many parts a window is divided. The interval counted is
// at most one part shorter than the window, and never longer.
const maxColumns = 20

// tickLength is how often Tick is called, about. Nothing depends on it but how
// finely short windows are divided.
const tickLength = 250 * time.Millisecond

// window is the sliding window of one detector over all slots. It is held by
// columns, one for the slots' counts between two points in time, so that a tick
// runs through memory from end to end.
//
// A source is counted over the columns that lie wholly inside the window, which
// is why nobody who keeps to the limit is ever above it.
type window struct {
	length    time.Duration
	width     time.Duration // of a column, at least, but for jitter
	limit     policy.Rate
	threshold uint64 // limit × length, in units
	shift     uint   // a unit is 1<<shift packets or bytes

	starts  []policy.Deadline // of the columns
	columns [][]uint32        // column, slot: units
	oldest  int
	current int
	live    int // columns from oldest to current

	sums []uint64 // slot: units in all live columns
	last []uint32 // slot: the counter as far as it was taken in

	gap  time.Duration // of the tick at hand, if it is longer than the window
	fill []uint32      // the current column
}

func newWindow(d Detector) *window {
	parts := min(max(int(d.Window/tickLength), 4), maxColumns)
	w := &window{length: d.Window, width: d.Window / time.Duration(parts), limit: d.Limit}
	// Ticks that come early make columns up to an eighth narrower.
	w.columns = make([][]uint32, parts+parts/4+2)
	w.starts = make([]policy.Deadline, len(w.columns))
	w.live = 1
	threshold, unitless := mulDiv(d.Limit.PerSecond, uint64(d.Window), uint64(time.Second)), uint64(1)<<31
	for threshold>>w.shift >= unitless {
		w.shift++
	}
	w.threshold = threshold >> w.shift
	return w
}

// mulDiv returns a × b / c, or the most there is.
func mulDiv(a, b, c uint64) uint64 {
	high, low := bits.Mul64(a, b)
	if high >= c {
		return math.MaxUint64
	}
	quotient, _ := bits.Div64(high, low, c)
	return quotient
}

// grow makes room for slots.
func (w *window) grow(slots int) {
	for n, c := range w.columns {
		w.columns[n] = grown(c, slots)
	}
	w.sums = grown(w.sums, slots)
	w.last = grown(w.last, slots)
	w.fill = w.columns[w.current]
}

func grown[T any](s []T, n int) []T {
	g := make([]T, n)
	copy(g, s)
	return g
}

// turn lets the window slide from the tick at before to that at now.
func (w *window) turn(before, now policy.Deadline) {
	if before-w.starts[w.current] >= policy.Deadline(w.width-w.width/8) {
		if w.live == len(w.columns) {
			w.dropOldest()
		}
		w.current = (w.current + 1) % len(w.columns)
		w.starts[w.current] = before
		w.live++
	}
	start := now - policy.Deadline(w.length)
	for w.live > 1 && w.starts[w.oldest] < start {
		w.dropOldest()
	}
	w.gap = 0
	if before < start {
		w.gap = time.Duration(now - before)
		w.starts[w.current] = start
	}
	w.fill = w.columns[w.current]
}

func (w *window) dropOldest() {
	column := w.columns[w.oldest]
	sums := w.sums[:len(column)]
	for slot, units := range column {
		sums[slot] -= uint64(units)
	}
	clear(column)
	w.oldest = (w.oldest + 1) % len(w.columns)
	w.live--
}

// add takes in the counter of a slot, and tells whether there is more than
// before and the source is above its limit.
func (w *window) add(slot, value uint32) bool {
	units := (value - w.last[slot]) >> w.shift
	if units == 0 {
		return false
	}
	w.last[slot] = value // less than a unit may be lost, of more than a billion
	if w.gap > 0 {
		// Nobody knows when in the gap it was; the mean is the least that the
		// busiest window of it had.
		units = uint32(uint64(units) * uint64(w.length/time.Microsecond) / uint64(w.gap/time.Microsecond))
	}
	held := w.fill[slot]
	units = min(units, math.MaxUint32-held)
	w.fill[slot] = held + units
	w.sums[slot] += uint64(units)
	return w.sums[slot] > w.threshold
}

// reset forgets a slot, whose counter now is at value.
func (w *window) reset(slot, value uint32) {
	for _, c := range w.columns {
		c[slot] = 0
	}
	w.sums[slot] = 0
	w.last[slot] = value
}

// count returns what a slot has in the window, in packets or bytes.
func (w *window) count(slot uint32) uint64 { return w.sums[slot] << w.shift }

// above tells whether a slot is above the limit.
func (w *window) above(slot uint32) bool { return w.sums[slot] > w.threshold }

// since returns the beginning of the first live column in which a slot has
// anything, or now.
func (w *window) since(slot uint32, now policy.Deadline) policy.Deadline {
	for n := range w.live {
		if c := (w.oldest + n) % len(w.columns); w.columns[c][slot] > 0 {
			return w.starts[c]
		}
	}
	return now
}

// rate returns how much a second is count in the time between since and now.
func (w *window) rate(count uint64, since, now policy.Deadline) policy.Rate {
	span := max(time.Duration(now-since), tickLength)
	return policy.Rate{PerSecond: mulDiv(count, uint64(time.Second), uint64(span)), Unit: w.limit.Unit}
}

// share returns the rate of a slot as a part of the limit, over the window or
// what of it the slot has been held for.
func (w *window) share(slot uint32, held policy.Deadline) float64 {
	span := min(max(held, policy.Deadline(time.Second)), policy.Deadline(w.length))
	return float64(w.sums[slot]) / float64(w.threshold) * float64(w.length) / float64(span)
}
