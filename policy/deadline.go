package policy

import (
	"math"
	"time"
)

// Deadline is a time of CLOCK_BOOTTIME, in nanoseconds since boot. Boot time runs
// through suspend and never jumps. For this reason all deadlines are in boot time
// and not in wall time.
type Deadline int64

// Forever is the deadline that never comes.
const Forever Deadline = math.MaxInt64

// Tick is the kernel's quantum of boot time: 1<<TickShift nanoseconds, 134 ms.
// An entry is live while the current tick is below its deadline's tick.
type Tick uint32

const (
	// TickShift is TICK_SHIFT of bpf/types.h.
	TickShift = 27
	// TickNever is the tick of a verdict that no entry gives.
	TickNever Tick = 0
	// TickForever is the tick of Forever.
	TickForever Tick = math.MaxUint32
)

// Tick returns the deadline as the kernel holds it, rounded up so that no
// entry ends early. A deadline at or before boot becomes the first tick, which
// is past, and not TickNever.
func (d Deadline) Tick() Tick {
	if d == Forever {
		return TickForever
	}
	if d <= 0 {
		return 1
	}
	t := (uint64(d) + 1<<TickShift - 1) >> TickShift
	if t >= uint64(TickForever) {
		return TickForever
	}
	return Tick(t)
}

// TickAt returns the tick that the kernel reads at boot time now.
func TickAt(now Deadline) Tick {
	if now <= 0 {
		return 0
	}
	return Tick(uint64(now) >> TickShift)
}

// After returns the deadline ttl after now; Forever if ttl is TTLForever or
// the sum would not fit.
func After(now Deadline, ttl time.Duration) Deadline {
	if ttl == TTLForever || int64(ttl) > int64(Forever)-int64(now) {
		return Forever
	}
	return now + Deadline(ttl)
}
