package detect

import (
	"time"

	"github.com/paraxial/paraxial/policy"
)

// breaker turns decisions to shadow while there are suspiciously many: rather a
// detector is wrong, or sources are forged, than half the world is bad.
type breaker struct {
	limit  int // bans a minute; 0 for no limit
	recent []policy.Deadline
	next   int // place in recent for the next ban
	open   bool
	since  policy.Deadline
	trips  uint64
}

const minute = policy.Deadline(time.Minute)

func newBreaker(limit int) *breaker {
	return &breaker{limit: limit, recent: make([]policy.Deadline, limit+1)}
}

// ban takes note of a ban that a detector wants, and tells whether it must be
// shadow only.
func (b *breaker) ban(now policy.Deadline) (shadow bool) {
	if b.limit == 0 {
		return false
	}
	b.recent[b.next] = now
	b.next = (b.next + 1) % len(b.recent)
	if !b.open && b.lastMinute(now) > b.limit {
		b.open, b.since = true, now
		b.trips++
	}
	return b.open
}

// calm closes the breaker if a minute has passed with at most half the bans that
// are allowed, and tells whether it just did.
func (b *breaker) calm(now policy.Deadline) (closed bool) {
	if !b.open || now-b.since < minute || b.lastMinute(now) > b.limit/2 {
		return false
	}
	b.open, b.since = false, now
	return true
}

func (b *breaker) lastMinute(now policy.Deadline) int {
	n := 0
	for _, at := range b.recent {
		if at > 0 && at > now-minute {
			n++
		}
	}
	return n
}
