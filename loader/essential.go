package loader

import (
	"fmt"

	"github.com/paraxial/paraxial/policy"
)

// EssentialRate is the number of essential packets a second that pass on an interface although an
// entry would drop them.
const EssentialRate = 1000

// essentialBurst is how far ahead of the rate they may be, in microseconds.
const essentialBurst = 100_000

// SetEssential turns the exception for essential packets on or off, for all interfaces. They
// are those without which the host loses its address or its neighbours: see
// bpf/essential.h. It is off before the first call.
func (l *Loader) SetEssential(on bool) error {
	buckets, err := mapWords(l.maps[plainMapEssential])
	if err != nil {
		return fmt.Errorf("set the rate of essential packets: %w", err)
	}
	var cost uint64
	if on {
		cost = limitCostOf(policy.Rate{PerSecond: EssentialRate, Unit: policy.Packets})
	}
	const words = limitSteps + 4
	for slot := range uint32(MaxSlots) {
		buckets.store(slot*words+limitBurstHit, essentialBurst)
		buckets.store(slot*words+limitCost, cost)
	}
	return nil
}
