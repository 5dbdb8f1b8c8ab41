package loader

import (
	"fmt"
	"iter"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// The words of struct limit of bpf/types.h. burst and hit_id share a word.
const (
	limitTAT = iota
	limitCost
	limitOwner
	limitBurstHit
	limitSteps
)

const (
	limitCostShift = 16      // LIMIT_COST_SHIFT
	limitPerByte   = 1 << 63 // LIMIT_PER_BYTE
)

// limitCostOf returns the cost of a packet or byte at a rate, as in struct limit.
func limitCostOf(r policy.Rate) uint64 {
	const second = uint64(time.Second) << limitCostShift
	cost := (second + r.PerSecond/2) / r.PerSecond
	if r.Unit == policy.Bytes {
		cost |= limitPerByte
	}
	return cost
}

// limitBurstOf returns how far ahead of its rate a source may be, in microseconds. The
// packets of one second may arrive at once, and one packet always passes.
func limitBurstOf(r policy.Rate) uint32 {
	cost := time.Duration(limitCostOf(r) &^ limitPerByte >> limitCostShift)
	return uint32((time.Second - cost).Microseconds())
}

// putLimits writes all buckets before the steps, so that no step leads to a bucket that is
// not there yet.
func (l *Loader) putLimits(limits []policy.LimitRecord) error {
	var highest uint32
	for _, r := range limits {
		highest = max(highest, r.ID)
	}
	if err := l.growSegments(l.limits, highest+1); err != nil {
		return fmt.Errorf("add limits: %w", explain(err))
	}
	for _, r := range limits {
		l.putBucket(r)
	}
	for _, r := range limits {
		l.putSteps(r)
	}
	return nil
}

func (l *Loader) putBucket(r policy.LimitRecord) {
	w, at, ok := l.limits.at(r.ID)
	if !ok {
		return
	}
	if r.Fresh {
		// No step leads here yet, but a packet of the previous owner may still be in flight.
		w.store(at+limitOwner, 0)
		w.store(at+limitTAT, 0)
	}
	w.store(at+limitCost, limitCostOf(r.Rate))
	w.store(at+limitBurstHit, uint64(limitBurstOf(r.Rate))|uint64(r.HitID)<<32)
	w.store(at+limitOwner, r.Owner)
}

func (l *Loader) putSteps(r policy.LimitRecord) {
	w, at, ok := l.limits.at(r.ID)
	if !ok {
		return
	}
	for i, step := range r.Steps {
		w.store(at+limitSteps+uint32(i), uint64(step.Until)|uint64(step.Bucket)<<32)
	}
}

// freeLimits clears the owners of limits, so that no later run takes them over.
func (l *Loader) freeLimits(ids []uint32) {
	for _, id := range ids {
		if w, at, ok := l.limits.at(id); ok {
			w.store(at+limitOwner, 0)
		}
	}
}

// Limits yields the limits that the kernel holds.
func (l *Loader) Limits() iter.Seq[policy.HeldLimit] {
	return func(yield func(policy.HeldLimit) bool) {
		for id := uint32(0); ; id++ {
			w, at, ok := l.limits.at(id)
			if !ok {
				return
			}
			owner := w.load(at + limitOwner)
			held := policy.HeldLimit{
				ID: id, Owner: owner, HitID: uint32(w.load(at+limitBurstHit) >> 32), FullAt: w.load(at + limitTAT),
			}
			if owner != 0 && !yield(held) {
				return
			}
		}
	}
}
