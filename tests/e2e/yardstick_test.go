package e2e

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// yardstickEntries is the size of the map that the yardstick updates.
const yardstickEntries = 100_000

// A yardstick measures the speed of the machine while something else is measured: it repeats the
// same piece of work on its own thread and records the processor time of each repetition. Limits of
// processor time in tests are multiples of it, so that they mean the same on every machine, busy or
// not.
type yardstick struct {
	stop chan struct{}
	took chan []time.Duration
}

func newYardstick() *yardstick {
	y := &yardstick{stop: make(chan struct{}), took: make(chan []time.Duration, 1)}
	go y.run()
	return y
}

// end returns the median processor time of one repetition.
func (y *yardstick) end() time.Duration {
	close(y.stop)
	took := <-y.took
	slices.Sort(took)
	return took[len(took)/2]
}

func (y *yardstick) run() {
	runtime.LockOSThread() // ends with its goroutine
	m := make(map[uint32]uint64, yardstickEntries)
	keys := make([]uint32, yardstickEntries)
	for i := range keys {
		keys[i] = rand.Uint32()
		m[keys[i]] = 0
	}
	var took []time.Duration
	for {
		begin := threadTime()
		for _, k := range keys {
			m[k]++
		}
		took = append(took, threadTime()-begin)
		select {
		case <-y.stop:
			y.took <- took
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// threadTime returns the processor time of the calling thread.
func threadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		panic(err) // this clock always exists
	}
	return time.Duration(ts.Nano())
}
