package loader

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// reasonBits is REASON_BITS of bpf/types.h, and maxSlots MAX_SLOTS.
const (
	reasonBits = 6
	maxSlots   = 64
)

// Counter counts packets and the bytes of their frames.
type Counter struct {
	Packets uint64
	Bytes   uint64
}

// Counters returns what was counted, by slot and reason, summed over CPUs.
// Slots and reasons without a packet are left out.
func (l *Loader) Counters() (map[uint32]map[Reason]Counter, error) {
	all := map[uint32]map[Reason]Counter{}
	for slot := range uint32(maxSlots) {
		c, err := readSlot(l.maps[plainMapCounters], slot)
		if err != nil {
			return nil, err
		}
		if len(c) > 0 {
			all[slot] = c
		}
	}
	return all, nil
}

func readSlot(counters *ebpf.Map, slot uint32) (map[Reason]Counter, error) {
	var perCPU []plainCounter
	c := map[Reason]Counter{}
	for r := range Reasons() {
		if err := counters.Lookup(slot<<reasonBits|uint32(r), &perCPU); err != nil {
			return nil, fmt.Errorf("read counter %s of slot %d: %w", r, slot, err)
		}
		var sum Counter
		for _, v := range perCPU {
			sum.Packets += v.Packets
			sum.Bytes += v.Bytes
		}
		if sum.Packets > 0 {
			c[r] = sum
		}
	}
	return c, nil
}

// ClearSlot sets the counters of a slot to zero. Do so before the slot is
// given to another interface, while no program counts into it.
func (l *Loader) ClearSlot(slot uint32) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("clear slot %d: %w", slot, err)
	}
	zero := make([]plainCounter, cpus)
	for r := range Reasons() {
		if err := l.maps[plainMapCounters].Put(slot<<reasonBits|uint32(r), zero); err != nil {
			return fmt.Errorf("clear counter %s of slot %d: %w", r, slot, err)
		}
	}
	return nil
}

// HitCapacity returns how many hit ids there are: valid ones are below it,
// and 0 is nobody's.
func (l *Loader) HitCapacity() uint32 { return l.hits.len() }

// Hits returns how many packets id has dropped or, for shadow, would have. It
// is 0 for an id out of range.
func (l *Loader) Hits(id uint32) uint64 { return l.hits.load(id) }

// ClearHits sets the count of id to zero. Do so before the id is handed out.
func (l *Loader) ClearHits(id uint32) { l.hits.store(id, 0) }
