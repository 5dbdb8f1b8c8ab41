package sdnotify

import (
	"sync/atomic"
	"time"
)

// Pulse is the time of the last sign of progress of a loop.
type Pulse struct{ last atomic.Pointer[time.Time] }

// Beat records progress.
func (p *Pulse) Beat() {
	now := time.Now()
	p.last.Store(&now)
}

// Silence returns the time since the last progress, or 0 before the first.
func (p *Pulse) Silence() time.Duration {
	if last := p.last.Load(); last != nil {
		return time.Since(*last)
	}
	return 0
}
