// Package ladder is what detectors and rules share: longer bans for repeat offenders, the memory
// of offenders, the circuit breaker, and the bound on the number of entries.
//
// It uses no kernel and no clock: time is passed as an argument.
package ladder

import (
	"fmt"
	"sync"

	"github.com/paraxial/paraxial/policy"
)

// Ladder is shared by the detectors and the rules. It is safe for concurrent use.
type Ladder struct {
	mu      sync.Mutex
	breaker breaker
	memory  memory
	maxBans int
	live    int // entries
	tripped int // of these, those that the breaker turned into shadow entries
}

// New returns a ladder for at most maxBans entries. The breaker opens above bansPerMinute; 0 is no
// breaker.
func New(maxBans, bansPerMinute int) *Ladder {
	return &Ladder{
		breaker: newBreaker(bansPerMinute),
		memory:  memory{capacity: max(4*maxBans, 1024), offences: map[Key]offence{}},
		maxBans: maxBans,
	}
}

// Kind is what a decision does to the entry of its origin and prefix.
type Kind uint8

// The kinds.
const (
	Made     Kind = 1 // put an entry; it replaces an older one
	Extended Kind = 2 // put the entry with a later deadline: the source has not stopped
	Lifted   Kind = 3 // remove the entry, to make room for a newer one
)

func (k Kind) String() string {
	switch k {
	case Made:
		return "new"
	case Extended:
		return "extended"
	case Lifted:
		return "lifted"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Ban records a ban, and reports whether it must be a shadow entry.
func (l *Ladder) Ban(now policy.Deadline) (shadow bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breaker.calm(now)
	return l.breaker.ban(now)
}

// Calm closes the breaker if it is time, and returns its state.
func (l *Ladder) Calm(now policy.Deadline) Breaker {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breaker.calm(now)
	return l.breaker.state
}

// Breaker returns the state of the breaker.
func (l *Ladder) Breaker() Breaker {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.breaker.state
}

// MaxTripped is the largest number of live entries that the circuit breaker turned into
// shadow entries. Forged sources are the likely cause of so many decisions. A few hundred
// examples are enough for people, and more would take the room of bans.
const MaxTripped = 256

// Full reports whether there is no room for another entry. tripped entries have a bound of their
// own, which tooMany reports. Two callers at the same time may exceed a bound by one.
func (l *Ladder) Full(tripped bool) (full, tooMany bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live >= l.maxBans, tripped && l.tripped >= MaxTripped
}

// Take records an entry.
func (l *Ladder) Take(tripped bool) { l.add(1, tripped) }

// Give records the end of an entry.
func (l *Ladder) Give(tripped bool) { l.add(-1, tripped) }

func (l *Ladder) add(n int, tripped bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live += n
	if tripped {
		l.tripped += n
	}
}
