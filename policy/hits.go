package policy

// hitIDs hands out indices of the kernel's drop counters. A freed index is used
// again as late as possible, so that a packet still in flight cannot be counted
// for the next owner.
type hitIDs struct {
	capacity uint32
	next     uint32   // below it, all have been handed out or adopted
	freed    []uint32 // in the order they came back
	adopted  []uint64 // one bit each; those at or above next count
}

func newHitIDs(capacity uint32) hitIDs {
	return hitIDs{capacity: capacity, next: 1, adopted: make([]uint64, capacity/64+1)}
}

// take returns a counter, or 0 if there is none left.
func (h *hitIDs) take() uint32 {
	for h.next < h.capacity {
		id := h.next
		h.next++
		if !h.isAdopted(id) {
			return id
		}
	}
	if len(h.freed) == 0 {
		return 0
	}
	id := h.freed[0]
	h.freed = h.freed[1:]
	return id
}

func (h *hitIDs) give(id uint32) {
	if id != 0 {
		h.freed = append(h.freed, id)
	}
}

// adopt takes one particular counter, if it is free. Only before the first take.
func (h *hitIDs) adopt(id uint32) bool {
	if id == 0 || id >= h.capacity || h.isAdopted(id) {
		return false
	}
	h.adopted[id/64] |= 1 << (id % 64)
	return true
}

func (h *hitIDs) isAdopted(id uint32) bool { return h.adopted[id/64]&(1<<(id%64)) != 0 }
