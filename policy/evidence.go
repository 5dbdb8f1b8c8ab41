package policy

import "time"

// Evidence is why a detector made an entry. It does not change once it is in an
// entry, since the book hands out the one that it was given.
type Evidence struct {
	Detector string
	Rate     Rate // measured
	Limit    Rate
	Window   time.Duration
	Count    uint64    // packets or bytes in the window, in Limit's unit
	First    time.Time // since when the source was counted; wall clock, whole seconds
	Last     time.Time
	Ports    []uint16 // some of the destination ports, sampled
	Offence  int      // 1 is the first that is remembered
	Sources  int      // distinct offenders in a widened prefix, else 0
}
