package detect

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// Kind is what a decision does to the entry of its detector and prefix.
type Kind uint8

// The kinds.
const (
	New      Kind = 1 // put an entry, over an older one if there is one
	Extended Kind = 2 // put it again with a later deadline: the source has not stopped
	Lifted   Kind = 3 // remove it, to make room for a newer one
)

func (k Kind) String() string {
	switch k {
	case New:
		return "new"
	case Extended:
		return "extended"
	case Lifted:
		return "lifted"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Decision is what is to be done, and why.
type Decision struct {
	Kind     Kind
	Detector string
	Prefix   netip.Prefix // masked and unmapped
	Action   Action
	Tripped  bool // Action is Shadow because the circuit breaker says so
	Limit    policy.Rate
	For      time.Duration
	Until    policy.Deadline
	Evidence Evidence
}

// Evidence is why a decision was made.
type Evidence struct {
	Rate    policy.Rate // measured
	Limit   policy.Rate
	Window  time.Duration
	Count   uint64          // packets or bytes in the window, in Limit's unit
	First   policy.Deadline // since when the source is counted
	Last    policy.Deadline
	Ports   []uint16 // some of the destination ports, sampled
	Offence int      // 1 is the first that is remembered
	Sources int      // distinct offenders in a widened prefix, else 0
}

// String says it in one line, for the reason of an entry.
func (e Evidence) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, limit %s over %s", e.Rate, e.Limit, policy.FormatTTL(e.Window))
	if e.Sources > 0 {
		fmt.Fprintf(&b, "; %d sources inside", e.Sources)
	}
	if e.Offence > 1 {
		fmt.Fprintf(&b, "; offence %d", e.Offence)
	}
	for n, p := range e.Ports {
		if n == 0 {
			b.WriteString("; to port ")
		} else {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, p)
	}
	return b.String()
}

// Spared is a source above a limit that is left alone.
type Spared struct {
	Detector string
	Prefix   netip.Prefix
	Reason   string
	Evidence Evidence
}

// About is what samples have shown of a source.
type About struct {
	Ports  []uint16 // destinations, some
	Length uint32   // of a packet on average, bytes; 0 is unknown
}

// Counts are the exact counters of one tracked source.
type Counts struct {
	// Slot of the tracking table: small numbers, used again for other sources.
	Slot   uint32
	Source netip.Prefix
	// Began is when the counters were at zero: when the source came into the
	// slot. It tells two stays of a source in the same slot apart.
	Began policy.Deadline
	// Values count, for each detector, packets or bytes as its limit does. They
	// only grow, and wrap.
	Values [MaxDetectors]uint32
}

// Drops are the packets that an entry has dropped or, in shadow, would have.
type Drops struct {
	Detector string
	Prefix   netip.Prefix
	Packets  uint64 // ever; only grows
}
