package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/warnings"
)

// After a decision found no room, new ones are not tried for a time that
// doubles with every further failure. Otherwise each tick of a flood would fail.
const (
	firstPause = 2 * time.Second
	mostPause  = 30 * time.Second
)

// fullRoom is the state of detectors and rules that find no room for new entries.
type fullRoom struct {
	mu     sync.Mutex
	cause  error // nil while there is room
	pause  time.Duration
	until  time.Time // no attempt is made before
	logged time.Time
}

// close records a failure. It reports whether to log it.
func (r *fullRoom) close(now time.Time, cause error) (log bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pause = min(max(2*r.pause, firstPause), mostPause)
	r.cause, r.until = cause, now.Add(r.pause)
	if now.Sub(r.logged) < warnings.Every {
		return false
	}
	r.logged = now
	return true
}

// open records a success. It reports whether there was no room before.
func (r *fullRoom) open() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.cause != nil
	r.cause, r.pause = nil, 0
	return was
}

// waits reports whether an attempt should wait.
func (r *fullRoom) waits(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause != nil && now.Before(r.until)
}

// noRoom returns why detectors and rules cannot add entries, or nil if they can.
func (v *enforcer) noRoom() error {
	v.full.mu.Lock()
	defer v.full.mu.Unlock()
	return v.full.cause
}

// admitted returns the decisions to carry out now, and those that wait for room.
func (v *enforcer) admitted(decisions []decision) (now, held []decision) {
	if !needsRoom(decisions) || !v.full.waits(time.Now()) {
		return decisions, nil
	}
	return withoutRoom(decisions)
}

// found tells the log when there is room again after there was none.
func (v *enforcer) found(decisions []decision) {
	if needsRoom(decisions) && v.full.open() {
		v.d.log.Warn("detectors and rules have room for new entries again")
	}
}

// refused carries out those decisions for which no room is needed, and returns the indices of
// the others.
func (v *enforcer) refused(ctx context.Context, decisions []decision, cause error) []int {
	if v.full.close(time.Now(), cause) {
		v.d.log.Error("detectors and rules cannot add entries: sources above a limit are not blocked; they try again, "+
			"less and less often", "decisions", len(decisions), "error", cause)
	}
	now, held := withoutRoom(decisions)
	if len(held) == 0 {
		return indices(decisions)
	}
	return append(indices(held), v.carryOut(ctx, now)...)
}

// needsRoom reports whether decisions put more entries than they lift.
func needsRoom(decisions []decision) bool {
	more := 0
	for _, d := range decisions {
		switch d.kind {
		case ladder.Made:
			more++
		case ladder.Lifted:
			more--
		}
	}
	return more > 0
}

// withoutRoom separates the extensions, which need no room. An entry that was to be
// lifted for a new one is held with it.
func withoutRoom(decisions []decision) (now, held []decision) {
	for _, d := range decisions {
		if d.kind == ladder.Extended {
			now = append(now, d)
		} else {
			held = append(held, d)
		}
	}
	return now, held
}
