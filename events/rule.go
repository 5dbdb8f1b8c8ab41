// Package events counts what reporters tell about single sources, and decides by rules: a source
// that collects more points in a window than a rule allows gets an entry.
//
// It uses no kernel, no clock and no goroutines: events and time come in as arguments, decisions
// are returned. The texts of an event are compared and quoted, and never interpreted.
package events

import (
	"time"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// Action is what is done to a source above the limit.
type Action = ladder.Action

// The actions.
const (
	Block         = ladder.Block
	Limit         = ladder.Limit
	Shadow        = ladder.Shadow
	Alert  Action = "alert" // make no entry, and only tell
)

// Distinct is the part of an event whose different values are counted.
type Distinct string

// The values of Distinct.
const (
	EachEvent    Distinct = ""     // each event counts
	DistinctUser Distinct = "user" // each different user counts once
	DistinctPath Distinct = "path" // each different path counts once
)

// Success is the effect of an event that tells of a success.
type Success string

// The values of Success.
const (
	IgnoreSuccess Success = "ignore" // none
	ResetSuccess  Success = "reset"  // the failures of the same source and user do not count any more
)

// Rule acts on sources that collect more than Limit points within Window. The comments of its
// fields, and of the types in ladder, are also the text of the configuration reference.
type Rule struct {
	// The name, which reporters give with each event. Entries of the rule have the origin
	// `rule:NAME`.
	Name string
	// The number of points that a source may have in one window. The event that exceeds it leads
	// to the action, so `0` acts on the first event. An event has one point unless its reporter
	// says otherwise.
	Limit int
	// The time over which points are counted. It slides: each event counts for this long.
	Window time.Duration
	Per    ladder.Per
	// The part of an event whose different values are counted: `user` or `path`. Each value then
	// counts once in a window, with the points of its last event. `""` counts each event.
	Distinct Distinct
	// The effect of an event that tells of a success: `ignore`, or `reset` (the failures of the
	// same source and user do not count any more).
	Success Success
	// The action: `block`, `limit` (drop packets above `rate`), `shadow` (only count the packets)
	// or `alert` (only tell in log, metrics and `watch`).
	Action Action
	// The rate above which `action: limit` drops packets: `20/s`, `1Mbit/s`.
	Rate policy.Rate
	// How long a ban lasts, from the time of the event.
	For      time.Duration
	Escalate ladder.Escalate
	Widen    ladder.Widen
}
