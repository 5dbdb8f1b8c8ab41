package policy

import (
	"iter"
	"net/netip"
)

// Load adds an entry without compiling anything, which is the fast way to fill a
// new book. Call Adopt and Compile after the last entry and before anything else.
// Load does not replace an entry with the same key: the store has no duplicates.
func (b *Book) Load(e Entry) {
	r := b.slab.add(e)
	if e.Action == Limit {
		b.slab.limits[r] = &limited{rate: e.Rate}
	}
	b.modify(siteOf(e), func(n node, exists bool) (node, bool) {
		if !exists {
			b.large.note(siteOf(e), true)
			n.id = b.sent.take()
		}
		b.slab.at(r).next = n.head
		n.head = r
		return n, false
	})
	b.expiry.add(r)
	b.count(e, 1)
}

// AdoptHits keeps the drop counters of nodes in tries that are being replaced. It
// uses only the prefix and HitID of a node. It must be called before Adopt, if at
// all.
func (b *Book) AdoptHits(owners iter.Seq[Node]) {
	for at := range owners {
		if n, exists := b.blocks.Get(at.Prefix); exists && b.adoptOwn(at, &n) {
			b.blocks.Insert(at.Prefix, n)
		}
	}
}

// adoptOwn gives n the drop counter of at, the kernel's node for the same prefix,
// if that counter belongs to the prefix itself. It reports whether it did.
func (b *Book) adoptOwn(at Node, n *node) bool {
	if n.hit != 0 || !b.countsItself(at.Prefix, *n) || !b.hits.adopt(at.Verdict.HitID) {
		return false
	}
	n.hit = at.Verdict.HitID
	return true
}

// Adopt prepares a loaded book for a kernel that already holds nodes (running) and
// limits (held). Block nodes keep the drop counters that they have in the kernel,
// and limits keep their buckets, so that both outlive the daemon. Other nodes and
// limits get new ones. The delta has the counters to clear before any put, the
// limits to write, and the nodes and limits to remove because the book does not
// have them. It has no puts: Compile yields those.
func (b *Book) Adopt(running iter.Seq[Node], held iter.Seq[HeldLimit]) Delta {
	var delta Delta
	b.adoptLimits(held, &delta)
	for at := range running {
		n, exists := b.table(at.Kind).Get(at.Prefix)
		if !exists {
			delta.Delete = append(delta.Delete, Node{Kind: at.Kind, Prefix: at.Prefix})
			continue
		}
		b.sent.set(n.id, at.Verdict)
		if at.Kind == Block && b.adoptOwn(at, &n) {
			b.blocks.Insert(at.Prefix, n)
		}
	}
	for r := ref(1); r <= b.slab.used; r++ {
		rec := b.slab.at(r)
		if rec.kind != Block {
			continue
		}
		p := b.slab.prefix(r)
		if n, _ := b.blocks.Get(p); n.hit == 0 {
			n.hit = b.hits.take()
			delta.FreshHits = append(delta.FreshHits, n.hit)
			b.blocks.Insert(p, n)
		}
	}
	b.compileAllLimits(&delta)
	return delta
}

// Compile compiles the loaded entries of a kind and yields the nodes that differ
// from the kernel's or are missing there. The caller must put all of them.
func (b *Book) Compile(k Kind) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for r := ref(1); r <= b.slab.used; r++ {
			rec := b.slab.at(r)
			if rec.kind != k {
				continue
			}
			s := b.slab.site(r)
			n, above := b.above(s)
			v := b.combine(above, n).verdict()
			if v == b.sent.at(n.id) {
				continue
			}
			b.sent.set(n.id, v)
			if !yield(Node{Kind: k, Prefix: s.prefix, Verdict: v}) {
				return
			}
		}
	}
}

// countsItself reports whether drops at p count for p and not for a prefix that
// covers p. Only then does the counter in the kernel's node belong to p.
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
