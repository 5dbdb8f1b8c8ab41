package ladder

import (
	"time"

	"github.com/paraxial/paraxial/policy"
)

// breaker is the circuit breaker. While there are too many bans it turns new ones into
// shadow entries, because a wrong detector or rule, or forged sources are the likely cause.
type breaker struct {
	limit  int               // bans a minute; 0 for no limit
	recent []policy.Deadline // times of the last limit+1 bans
	next   int               // index in recent of the next ban
	state  Breaker
}

// Breaker is the state of the circuit breaker.
type Breaker struct {
	Open  bool            // new bans are shadow entries
	Since policy.Deadline // when Open last changed; 0 is never
	Trips uint64          // how often it opened
}

// Closed returns how often it closed.
func (b Breaker) Closed() uint64 {
	if b.Open {
		return b.Trips - 1
	}
	return b.Trips
}

const minute = policy.Deadline(time.Minute)

func newBreaker(limit int) breaker {
	return breaker{limit: limit, recent: make([]policy.Deadline, limit+1)}
}

// ban records a ban, and reports whether it must be a shadow entry.
func (b *breaker) ban(now policy.Deadline) (shadow bool) {
	if b.limit == 0 {
		return false
	}
	b.recent[b.next] = now
	b.next = (b.next + 1) % len(b.recent)
	if !b.state.Open && b.lastMinute(now) > b.limit {
		b.state.Open, b.state.Since = true, now
		b.state.Trips++
	}
	return b.state.Open
}

// calm closes an open breaker after a minute in which there were no more than half of
// the bans allowed.
func (b *breaker) calm(now policy.Deadline) {
	if b.state.Open && now-b.state.Since >= minute && b.lastMinute(now) <= b.limit/2 {
		b.state.Open, b.state.Since = false, now
	}
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
