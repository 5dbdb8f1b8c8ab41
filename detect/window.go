package detect

import (
	"math"
	"math/bits"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// maxColumns is the largest number of parts that a window is divided into. The interval
// that is counted is up to one part shorter than the window, and never longer.
const maxColumns = 20

// tickLength is the approximate time between calls of Tick. It only determines into how
// many parts short windows are divided, and the shortest span of a rate.
const tickLength = 250 * time.Millisecond

// window is the sliding window of one detector over all slots. It is stored by columns.
// A column has the counts of all slots between two points in time, so that a tick
// accesses memory sequentially.
//
// A source is counted over the columns that lie completely inside the window.
// Therefore a source that keeps to the limit is never found above it.
type window struct {
	length    time.Duration
	width     time.Duration // shortest time span of a column, apart from jitter
	limit     policy.Rate
	threshold uint64 // limit × length, in units
	shift     uint   // a unit is 1<<shift packets or bytes

	starts  []policy.Deadline // start of each column
	columns [][]uint32        // units by column and slot
	oldest  int
	current int
	live    int // number of columns from oldest to current

	sums []uint64 // units in all live columns, by slot
	last []uint32 // counter value that was added last, by slot

	gap  time.Duration // time since the previous tick, if longer than the window; otherwise 0
	fill []uint32      // the current column
}

func newWindow(d Detector) *window {
	parts := min(max(int(d.Window/tickLength), 4), maxColumns)
	w := &window{length: d.Window, width: d.Window / time.Duration(parts), limit: d.Limit}
	// Ticks that are early make columns up to an eighth narrower.
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

// mulDiv returns a × b / c, or the largest uint64 if the result is larger.
func mulDiv(a, b, c uint64) uint64 {
	high, low := bits.Mul64(a, b)
	if high >= c {
		return math.MaxUint64
	}
	quotient, _ := bits.Div64(high, low, c)
	return quotient
}

// grow makes room for a number of slots.
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

// turn moves the window from the tick at before to the tick at now.
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

// add adds a new value of the counter of a slot. It reports whether the counter has
// grown by a unit or more and the source is above the limit.
func (w *window) add(slot, value uint32) bool {
	units := (value - w.last[slot]) >> w.shift
	if units == 0 {
		return false
	}
	w.last[slot] = value // may lose less than one unit; the threshold is a billion units or more
	if w.gap > 0 {
		// It is unknown when in the gap the packets were sent. The busiest window
		// of the gap had the mean or more.
		units = uint32(uint64(units) * uint64(w.length/time.Microsecond) / uint64(w.gap/time.Microsecond))
	}
	held := w.fill[slot]
	units = min(units, math.MaxUint32-held)
	w.fill[slot] = held + units
	w.sums[slot] += uint64(units)
	return w.sums[slot] > w.threshold
}

// reset clears a slot, whose counter has the given value now.
func (w *window) reset(slot, value uint32) {
	for _, c := range w.columns {
		c[slot] = 0
	}
	w.sums[slot] = 0
	w.last[slot] = value
}

// count returns the packets or bytes of a slot in the window.
func (w *window) count(slot uint32) uint64 { return w.sums[slot] << w.shift }

// above reports whether a slot is above the limit.
func (w *window) above(slot uint32) bool { return w.sums[slot] > w.threshold }

// since returns the start of the first live column in which a slot has a count, or now
// if there is none.
func (w *window) since(slot uint32, now policy.Deadline) policy.Deadline {
	for n := range w.live {
		if c := (w.oldest + n) % len(w.columns); w.columns[c][slot] > 0 {
			return w.starts[c]
		}
	}
	return now
}

// rate returns the rate of a count between since and now.
func (w *window) rate(count uint64, since, now policy.Deadline) policy.Rate {
	span := max(time.Duration(now-since), tickLength)
	return policy.Rate{PerSecond: mulDiv(count, uint64(time.Second), uint64(span)), Unit: w.limit.Unit}
}

// share returns the rate of a slot divided by the limit. It is measured over the window,
// or over the time that the slot has had its source if that is shorter.
func (w *window) share(slot uint32, held policy.Deadline) float64 {
	span := min(max(held, policy.Deadline(time.Second)), policy.Deadline(w.length))
	return float64(w.sums[slot]) / float64(w.threshold) * float64(w.length) / float64(span)
}
