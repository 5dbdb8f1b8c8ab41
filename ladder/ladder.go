// Package ladder is what detectors and rules share: longer bans for repeat offenders, the memory
// of offenders, the circuit breaker, and the bound on the number of entries.
//
// It uses no kernel and no clock: time is passed as an argument.
package ladder

// Ladder is shared by the detectors and the rules. It is safe for concurrent use.
type Ladder struct{}

// Kind is what a decision does to the entry of its origin and prefix.
type Kind uint8

// The kinds.
const (
	New      Kind = 1 // put an entry; it replaces an older one
	Extended Kind = 2 // put the entry with a later deadline: the source has not stopped
	Lifted   Kind = 3 // remove the entry, to make room for a newer one
)
