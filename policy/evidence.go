package policy

import "time"

// Evidence is the measurement because of which a detector made an entry. It must
// not be changed after it was put into an entry: the book keeps and returns the
// same pointer.
type Evidence struct {
	Detector string
	Rate     Rate // measured
	Limit    Rate
	Window   time.Duration
	Count    uint64    // packets or bytes in the window, in Limit's unit
	First    time.Time // start of counting the source; wall clock, whole seconds
	Last     time.Time
	Ports    []uint16 // some of the destination ports, sampled
	Offence  int      // number of this offence among those remembered, from 1
	Sources  int      // distinct offenders in a widened prefix, otherwise 0
}
