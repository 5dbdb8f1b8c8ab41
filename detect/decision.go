package detect

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// Kind is what a decision does to the entry of its detector and prefix.
type Kind = ladder.Kind

// The kinds.
const (
	New      = ladder.Made
	Extended = ladder.Extended
	Lifted   = ladder.Lifted
)

// Decision is a change of an entry, with the reason for it.
type Decision struct {
	Kind     Kind
	Detector string
	Prefix   netip.Prefix // masked and unmapped
	Action   Action
	Tripped  bool // Action is Shadow because the circuit breaker is open
	Limit    policy.Rate
	For      time.Duration
	Until    policy.Deadline
	Evidence Evidence
}

// Evidence is what was measured of a source when a decision was made.
type Evidence struct {
	Rate    policy.Rate // measured
	Limit   policy.Rate
	Window  time.Duration
	Count   uint64          // packets or bytes in the window, in the unit of Limit
	First   policy.Deadline // when counting of the source began
	Last    policy.Deadline
	Ports   []uint16 // some of the destination ports, from samples
	Offence int      // number of this offence; 1 is the first one remembered
	Sources int      // number of offenders in a widened prefix, otherwise 0
}

// String returns the evidence in one line, for the reason of an entry.
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

// Spared is a source that is above a limit and is left alone.
type Spared struct {
	Detector string
	Prefix   netip.Prefix
	Reason   string
	Evidence Evidence
}

// About is what samples have shown about a source.
type About struct {
	Ports  []uint16 // some of the destination ports
	Length uint32   // average length of a packet in bytes; 0 is unknown
}

// Counts are the exact counters of one tracked source.
type Counts struct {
	// Slot is the number of the slot in the tracking table. A slot is reused for other
	// sources.
	Slot   uint32
	Source netip.Prefix
	// Began is when the counters were zero, which is when the source was put into the
	// slot. It differs if a source leaves a slot and is put into the same one again.
	Began policy.Deadline
	// Values has a counter for each detector, of packets or bytes as its limit has. They
	// only grow, and overflow to 0.
	Values [MaxDetectors]uint32
}

// Drops are the packets that an entry has dropped or, for a shadow entry, would have
// dropped.
type Drops struct {
	Detector string
	Prefix   netip.Prefix
	Packets  uint64 // total; only grows
}
