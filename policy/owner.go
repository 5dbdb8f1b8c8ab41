package policy

import "cmp"

// A prefix has one drop counter. Its drops are counted for one of its entries, the owner:
// the strongest one, and of equally strong ones the oldest. When entries of another origin
// take over, the prefix gets another counter, which begins at 0.

// Counter returns the drop counter of the entry with key k, a block; 0 if there is none. If
// the drops are counted for another entry of the same prefix, countedFor is the origin of
// that entry, otherwise it is empty.
func (b *Book) Counter(k Key) (id uint32, countedFor string) {
	n, ok := b.blocks.Get(k.Prefix)
	if !ok {
		return 0, ""
	}
	owner := b.owner(n)
	if b.slab.origin(owner) == k.Origin && b.slab.pendingID(owner) == k.Pending {
		return n.hit, ""
	}
	return n.hit, b.slab.origin(owner)
}

// owner returns the owner of the drops of a block node.
func (b *Book) owner(n node) ref {
	owner := n.head
	for r := b.slab.at(owner).next; r != 0; r = b.slab.at(r).next {
		// Of entries of the same second, the one that was put first is later in the list.
		if b.compareOwners(r, owner) >= 0 {
			owner = r
		}
	}
	return owner
}

// compareOwners is positive if x owns the drops rather than y.
func (b *Book) compareOwners(x, y ref) int {
	left, right := b.slab.at(x), b.slab.at(y)
	return cmp.Or(
		cmp.Compare(strength(left.action), strength(right.action)), cmp.Compare(right.created, left.created),
	)
}

// noteOwner remembers the origin of the owner of n, the node at s, before the entries there change. An
// entry that is alone and replaced by another of its origin remains the owner.
func (c *Change) noteOwner(s site, n node, replaced ref) {
	if s.kind != Block || n.head == 0 || n.head == replaced && c.book.slab.at(replaced).next == 0 {
		return
	}
	if _, noted := c.owners[s]; !noted {
		c.owners[s] = c.book.slab.origin(c.book.owner(n))
	}
}

// SettleOwners gives a new counter to each prefix whose owner has another origin than before
// the steps since the last call. An entry that is removed and put again by these steps, as a
// confirmation does, keeps its counter. SettleOwners settles most prefixes at a time, and
// reports whether there are more.
func (c *Change) SettleOwners(most int) (more bool) {
	for s, before := range c.owners {
		if most--; most < 0 {
			return true
		}
		c.book.settleOwner(c, s, before)
		delete(c.owners, s)
	}
	return false
}

func (b *Book) settleOwner(c *Change, s site, before string) {
	n, ok := b.blocks.Get(s.prefix)
	if !ok || b.slab.origin(b.owner(n)) == before {
		return
	}
	fresh := b.hits.take()
	if fresh == 0 {
		return // a count that began too early is better than none
	}
	c.fresh, c.freed = append(c.fresh, fresh), append(c.freed, n.hit)
	b.modify(s, func(n node, _ bool) (node, bool) {
		n.hit = fresh
		return n, false
	})
}
