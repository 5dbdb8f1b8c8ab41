package policy

import (
	"iter"
	"net/netip"
)

// Load adds an entry without compiling anything: the fast way to fill a new
// book. Call Adopt and Compile after the last one and before anything else. An
// entry with the key of an earlier one is a second entry; the store has none.
func (b *Book) Load(e Entry) {
	r := b.slab.add(e)
	if e.Action == Limit {
		b.slab.limits[r] = &limited{rate: e.Rate}
	}
	b.modify(siteOf(e), func(n node, _ bool) (node, bool) {
		b.slab.at(r).next = n.head
		n.head = r
		return n, false
	})
	b.expiry.add(r)
	b.count(e, 1)
}

// AdoptHits goes on with drop counters of nodes in tries that are replaced: all
// that is looked at of a node is its prefix and HitID. If it is called at all, then
// before Adopt.
func (b *Book) AdoptHits(owners iter.Seq[Node]) {
	for at := range owners {
		if n, exists := b.blocks.Get(at.Prefix); exists && b.adoptOwn(at, &n) {
			b.blocks.Insert(at.Prefix, n)
		}
	}
}

// adoptOwn gives n, the node of the book at a block node of the kernel, the drop
// counter that it has there, if that is its own.
func (b *Book) adoptOwn(at Node, n *node) bool {
	if n.hit != 0 || !b.countsItself(at.Prefix, *n) || !b.hits.adopt(at.Verdict.HitID) {
		return false
	}
	n.hit = at.Verdict.HitID
	return true
}

// Adopt takes over what the kernel's tries hold, which running yields, and its
// limits, for a book that was loaded. Block nodes keep the drop counters that
// they have there, and limits their buckets, so that both outlive the daemon; the
// others get new ones, which are to be cleared before any put. What is not in
// the book is to be deleted. All that is returned in a delta without puts: those
// are what Compile yields.
func (b *Book) Adopt(running iter.Seq[Node], held iter.Seq[HeldLimit]) Delta {
	var delta Delta
	b.adoptLimits(held, &delta)
	for at := range running {
		n, exists := b.table(at.Kind).Get(at.Prefix)
		if !exists {
			delta.Delete = append(delta.Delete, Node{Kind: at.Kind, Prefix: at.Prefix})
			continue
		}
		n.verdict = at.Verdict
		if at.Kind == Block {
			b.adoptOwn(at, &n)
		}
		b.table(at.Kind).Insert(at.Prefix, n)
	}
	for r := ref(1); r <= b.slab.used; r++ {
		rec := b.slab.at(r)
		if rec.kind != Block {
			continue
		}
		p := rec.prefix()
		if n, _ := b.blocks.Get(p); n.hit == 0 {
			n.hit = b.hits.take()
			delta.FreshHits = append(delta.FreshHits, n.hit)
			b.blocks.Insert(p, n)
		}
	}
	b.compileAllLimits(&delta)
	return delta
}

// Compile compiles what was loaded of a kind and yields the nodes that the
// kernel has otherwise, or not at all. All must be put.
func (b *Book) Compile(k Kind) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for r := ref(1); r <= b.slab.used; r++ {
			rec := b.slab.at(r)
			if rec.kind != k {
				continue
			}
			put, changed, _ := b.compile(rec.site())
			if !changed {
				continue
			}
			b.told(put)
			if !yield(put) {
				return
			}
		}
	}
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
	return b.hasAction(n, Shadow)
}

func (b *Book) hasAction(n node, a Action) bool {
	for r := n.head; r != 0; r = b.slab.at(r).next {
		if b.slab.at(r).action == a {
			return true
		}
	}
	return false
}
