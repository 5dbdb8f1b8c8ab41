package policy

import (
	"iter"
	"net/netip"
)

// hitIDs hands out indices of the kernel's drop counters. A freed index is used
// again as late as possible, so that a packet still in flight cannot be counted
// for the next owner.
type hitIDs struct {
	capacity uint32
	next     uint32          // below it, all have been handed out or adopted
	freed    []uint32        // in the order they came back
	adopted  map[uint32]bool // at or above next
}

func newHitIDs(capacity uint32) hitIDs {
	return hitIDs{capacity: capacity, next: 1, adopted: make(map[uint32]bool)}
}

// take returns a counter, or 0 if there is none left.
func (h *hitIDs) take() uint32 {
	for h.next < h.capacity {
		id := h.next
		h.next++
		if !h.adopted[id] {
			return id
		}
		delete(h.adopted, id)
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
	if id == 0 || id >= h.capacity || h.adopted[id] {
		return false
	}
	h.adopted[id] = true
	return true
}

// Load adds an entry without compiling anything: the fast way to fill a new
// book. Call Start after the last one and before anything else. An entry with
// the key of an earlier one is a second entry; the store has none.
func (b *Book) Load(e Entry) {
	r := b.slab.add(e)
	b.table(e.Kind).Modify(e.Prefix, func(n node, _ bool) (node, bool) {
		b.slab.at(r).next = n.head
		n.head = r
		return n, false
	})
	b.expiry.add(r)
	b.count(e, 1)
}

// Start compiles what was loaded. Block nodes keep the drop counters that they
// have in the running kernel, so that counts outlive the daemon; the others get
// new ones, which are returned to be cleared. running yields the block nodes of
// the kernel, and nothing if its tries are new.
func (b *Book) Start(running iter.Seq[Node]) (fresh []uint32) {
	for n := range running {
		at, ok := b.blocks.Get(n.Prefix)
		if ok && at.hit == 0 && b.countsItself(n.Prefix, at) && b.hits.adopt(n.Verdict.HitID) {
			at.hit = n.Verdict.HitID
			b.blocks.Insert(n.Prefix, at)
		}
	}
	for r := ref(1); r <= b.slab.used; r++ {
		if rec := b.slab.at(r); rec.kind == Block {
			b.blocks.Modify(rec.prefix(), func(n node, _ bool) (node, bool) {
				if n.hit == 0 {
					n.hit = b.hits.take()
					fresh = append(fresh, n.hit)
				}
				return n, false
			})
		}
	}
	for r := ref(1); r <= b.slab.used; r++ {
		rec := b.slab.at(r)
		s := rec.site()
		v := b.verdict(s)
		b.table(s.kind).Modify(s.prefix, func(n node, _ bool) (node, bool) {
			n.verdict = v
			return n, false
		})
	}
	return fresh
}

// countsItself tells whether drops at p count for p and not for a prefix that
// covers it: only then is the counter in the kernel's node its own.
func (b *Book) countsItself(p netip.Prefix, n node) bool {
	if b.hasAction(n, Drop) {
		return true
	}
	for _, covering := range b.blocks.Supernets(p) {
		if b.hasAction(covering, Drop) {
			return false
		}
	}
	return true
}

func (b *Book) hasAction(n node, a Action) bool {
	for r := n.head; r != 0; r = b.slab.at(r).next {
		if b.slab.at(r).action == a {
			return true
		}
	}
	return false
}
