package loader

import (
	"fmt"
	"unsafe"

	"github.com/paraxial/paraxial/policy"
)

// EssentialRate is the number of essential packets a second that pass on an interface although an
// entry would drop them.
const EssentialRate = essentialKinds*essentialPool + essentialShares*essentialShare

// EssentialRate is divided among the kinds of packets, and most of the part of a kind among its
// senders. The rates are in packets a second.
const (
	essentialKinds  = len(plainEssentialBuckets{}.Pools)
	essentialShares = len(plainEssentialBuckets{}.Shares)
	essentialPool   = 122 // of a kind, for senders that have used up their shares
	essentialShare  = 2   // of a share
)

// How far ahead of the rate they may be, in microseconds: about 100 packets of a pool, and 4 of a share.
const (
	essentialPoolBurst  = 800_000
	essentialShareBurst = 1_500_000
)

// The words of struct essential_buckets of bpf/types.h. The bursts share a word.
const (
	essentialPoolCost = iota
	essentialShareCost
	essentialBursts
	essentialWords = uint32(unsafe.Sizeof(plainEssentialBuckets{}) / 8)
)

// SetEssential turns the exception for essential packets on or off, for all interfaces. They
// are those without which the host loses its address or its neighbours: see
// bpf/essential.h. It is off before the first call.
func (l *Loader) SetEssential(on bool) error {
	buckets, err := mapWords(l.maps[plainMapEssential])
	if err != nil {
		return fmt.Errorf("set the rate of essential packets: %w", err)
	}
	var pool uint64
	if on {
		pool = limitCostOf(policy.Rate{PerSecond: essentialPool, Unit: policy.Packets})
	}
	share := limitCostOf(policy.Rate{PerSecond: essentialShare, Unit: policy.Packets})
	for at := uint32(0); at < MaxSlots*essentialWords; at += essentialWords {
		buckets.store(at+essentialShareCost, share)
		buckets.store(at+essentialBursts, essentialPoolBurst|essentialShareBurst<<32)
		buckets.store(at+essentialPoolCost, pool)
	}
	return nil
}
