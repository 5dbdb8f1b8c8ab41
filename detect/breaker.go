package detect

import (
	"time"

	"github.com/paraxial/paraxial/policy"
)

// breaker is the circuit breaker. While there are too many bans it turns new ones into
// shadow entries, because a wrong detector or forged sources are the likely cause.
type breaker struct {
	limit  int               // bans a minute; 0 for no limit
	recent []policy.Deadline // times of the last limit+1 bans
	next   int               // index in recent of the next ban
	open   bool
	since  policy.Deadline // when open last changed
	trips  uint64
}

const minute = policy.Deadline(time.Minute)

func newBreaker(limit int) *breaker {
	return &breaker{limit: limit, recent: make([]policy.Deadline, limit+1)}
}

// ban records a ban that a detector asks for, and reports whether it must be a
// shadow entry.
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

// calm closes an open breaker after a minute in which there were no more than half of
// the bans allowed. It reports whether it closed the breaker.
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
