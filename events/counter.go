package events

import (
	"net/netip"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// Options are the settings of a Counter besides its rules.
type Options struct {
	Ladder *ladder.Ladder // shared with the detectors
	// Memory bounds the sources that are counted, in bytes of memory. 0 is DefaultMemory.
	Memory int
	// Exempt returns why a source is left alone: OwnAddress, Proxy or Allowed. It returns ""
	// for a source that may be held. Nil exempts nothing.
	Exempt func(netip.Prefix) Result
}

// DefaultMemory is the memory for the sources that are counted.
const DefaultMemory = 64 << 20

// Counter counts events and makes decisions. It is not safe for concurrent use.
type Counter struct {
	rules   []Rule
	options Options
}

// NewCounter returns a counter of rules that CheckAll accepts.
func NewCounter(rules []Rule, o Options) *Counter {
	return &Counter{rules: rules, options: o}
}

// Add counts an event at boot time now. The time of the event may be in the past. A time in the
// future, and none, is taken as now.
func (c *Counter) Add(now policy.Deadline, e Event) Outcome {
	return Outcome{Result: UnknownRule}
}
