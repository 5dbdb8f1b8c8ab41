package engine

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

// Clock reads the clocks of the machine.
type Clock struct {
	bootID   string
	wallTime func() time.Time // may jump, so no deadline is compared with it
}

// NewClock returns the clock of the current boot.
func NewClock() (Clock, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Clock{}, fmt.Errorf("read the boot id: %w", err)
	}
	return Clock{bootID: strings.TrimSpace(string(id)), wallTime: time.Now}, nil
}

// Now returns CLOCK_BOOTTIME, the clock that the packet program reads.
func (Clock) Now() policy.Deadline {
	var ts unix.Timespec
	// This cannot fail: every supported kernel has the clock.
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return policy.Deadline(ts.Nano())
}

// Reading returns the time in the form that the store needs.
func (c Clock) Reading() store.Reading {
	return store.Reading{BootID: c.bootID, Boot: c.Now(), Wall: c.wallTime(), Synchronised: synchronised()}
}

// Moment returns the wall clock time of a point on the boot clock, truncated to
// the microsecond.
func (c Clock) Moment(at policy.Deadline) time.Time {
	return c.wallTime().Add(time.Duration(at - c.Now())).UTC().Truncate(time.Microsecond)
}

// Wall returns the wall clock time of a deadline, rounded to the second. It uses
// the present offset of the wall clock.
func (c Clock) Wall(d policy.Deadline) time.Time {
	return c.Moment(d).Round(time.Second)
}

// synchronised reports whether the kernel considers the wall clock correct,
// because an NTP or PTP client has told it so.
func synchronised() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}
