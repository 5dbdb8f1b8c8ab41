package daemon

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

// clock reads the machine's clocks.
type clock struct {
	bootID   string
	wallTime func() time.Time // may jump; nothing expires by it
}

func newClock() (clock, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return clock{}, fmt.Errorf("read the boot id: %w", err)
	}
	return clock{bootID: strings.TrimSpace(string(id)), wallTime: time.Now}, nil
}

// now returns CLOCK_BOOTTIME, the clock that the packet program reads.
func (clock) now() policy.Deadline {
	var ts unix.Timespec
	// Cannot fail: the clock exists on every supported kernel.
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return policy.Deadline(ts.Nano())
}

func (c clock) reading() store.Reading {
	return store.Reading{BootID: c.bootID, Boot: c.now(), Wall: c.wallTime(), Synchronised: synchronised()}
}

// moment returns the wall clock time of a point on the boot clock, to the
// microsecond.
func (c clock) moment(at policy.Deadline) time.Time {
	return c.wallTime().Add(time.Duration(at - c.now())).UTC().Truncate(time.Microsecond)
}

// wall returns the wall clock time of a deadline as things stand now.
func (c clock) wall(d policy.Deadline) time.Time {
	return c.moment(d).Round(time.Second)
}

// synchronised tells whether the kernel knows its wall clock to be right: an
// NTP or PTP client has said so.
func synchronised() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}
