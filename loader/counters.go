package loader

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// MaxSlots is MAX_SLOTS of bpf/types.h: the number of interfaces that can have counters.
const MaxSlots = 64

// reasonBits is REASON_BITS of bpf/types.h.
const reasonBits = 6

// Counter counts packets and the bytes of their frames.
type Counter struct {
	Packets uint64
	Bytes   uint64
}

// Counters returns the packet counters by slot and reason, summed over CPUs. Slots and
// reasons without a packet are left out.
func (l *Loader) Counters() (map[uint32]map[Reason]Counter, error) {
	all := map[uint32]map[Reason]Counter{}
	for slot := range uint32(MaxSlots) {
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

// ClearSlot sets the counters of a slot to zero. Call it before the slot is given to
// another interface, while no program counts into it.
func (l *Loader) ClearSlot(slot uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moved[slot] = true // an elder map has counters of the previous interface
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

// Sampled returns how many drops were counted for their entries by sampling: one in 1024
// with the weight of all, which is ATTRIBUTE_ONE_IN of bpf/types.h. If there are any, Hits
// are estimates.
func (l *Loader) Sampled() (uint64, error) {
	var perCPU []plainAttribution
	if err := l.maps[plainMapAttribution].Lookup(uint32(0), &perCPU); err != nil {
		return 0, fmt.Errorf("read map %s: %w", plainMapAttribution, err)
	}
	var sum uint64
	for _, a := range perCPU {
		sum += a.Sampled
	}
	return sum, nil
}
