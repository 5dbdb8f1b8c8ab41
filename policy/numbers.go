package policy

// numbers hands out indices of the kernel's drop counters or limits. A freed index
// is reused only after others, so that a packet still in flight is not counted for
// the next owner.
type numbers struct {
	capacity uint32
	rest     uint32   // number of freed indices that wait before the first is reused
	next     uint32   // all indices below it have been handed out or adopted
	freed    []uint32 // oldest first
	adopted  []uint64 // one bit for each index; only bits at or above next matter
}

func newNumbers(capacity, rest uint32) numbers {
	return numbers{capacity: capacity, rest: rest, next: 1, adopted: make([]uint64, capacity/64+1)}
}

// take returns an index, or 0 if none is left.
func (h *numbers) take() uint32 {
	if uint64(len(h.freed)) > uint64(h.rest) {
		return h.reuse()
	}
	for h.next < h.capacity {
		id := h.next
		h.next++
		if !h.isAdopted(id) {
			return id
		}
	}
	return h.reuse()
}

// after returns the number below which all indices are that the next n calls of take return.
func (h *numbers) after(n int) uint32 {
	n -= max(0, len(h.freed)-int(h.rest))
	id := h.next
	for ; n > 0 && id < h.capacity; id++ {
		if !h.isAdopted(id) {
			n--
		}
	}
	return id
}

func (h *numbers) reuse() uint32 {
	if len(h.freed) == 0 {
		return 0
	}
	id := h.freed[0]
	h.freed = h.freed[1:]
	return id
}

func (h *numbers) give(id uint32) {
	if id != 0 {
		h.freed = append(h.freed, id)
	}
}

// adopt takes the index id if it is free. It must not be called after the first take.
func (h *numbers) adopt(id uint32) bool {
	if id == 0 || id >= h.capacity || h.isAdopted(id) {
		return false
	}
	h.adopted[id/64] |= 1 << (id % 64)
	return true
}

func (h *numbers) isAdopted(id uint32) bool { return h.adopted[id/64]&(1<<(id%64)) != 0 }
