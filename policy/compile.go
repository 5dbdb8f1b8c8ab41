package policy

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
)

// Compile updates the verdicts of all touched sites, and of the sites they
// cover, and returns what that changes in the kernel. It ends the change.
func (c *Change) Compile() Delta {
	delta := Delta{FreshHits: c.fresh}
	slices.SortFunc(c.touched, func(x, y site) int {
		return cmp.Or(cmp.Compare(x.kind, y.kind), comparePrefix(x.prefix, y.prefix))
	})
	// Most changes put one node for each touched site, and few put many more.
	delta.Put = make([]Node, 0, len(c.touched))
	// done is the last site whose subtree is up to date. The sites are sorted, so
	// a site precedes those that it covers.
	var done site
	for _, s := range c.touched {
		if done.kind == s.kind && covers(done.prefix, s.prefix) {
			continue
		}
		c.book.recompile(s, &delta)
		done = s
	}
	for s, n := range c.gone {
		// A node that came and went in one change was never in the kernel.
		if n.verdict != (Verdict{}) {
			delta.Delete = append(delta.Delete, Node{Kind: s.kind, Prefix: s.prefix})
		}
		c.book.hits.give(n.hit)
	}
	c.freeLimits(&delta)
	return delta
}

func covers(outer, inner netip.Prefix) bool {
	return outer.IsValid() && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// recompile adds to delta the nodes at s and below s whose verdict changes, and
// their limits.
func (b *Book) recompile(s site, delta *Delta) {
	first := len(delta.Put)
	one := func(s site) {
		put, changed, limits := b.compile(s)
		if changed {
			delta.Put = append(delta.Put, put)
		}
		if limits {
			delta.Limits = b.compileLimits(s.prefix, delta.Limits)
		}
	}
	if s.prefix.IsSingleIP() {
		// Most sites are single addresses, which cover no other site.
		one(s)
	} else {
		for p := range b.table(s.kind).Subnets(s.prefix) {
			one(site{s.kind, p})
		}
	}
	// The table must not change under the iteration above.
	for _, put := range delta.Put[first:] {
		b.recordSent(put)
	}
}

// recordSent records the verdict that is sent to the kernel for a node.
func (b *Book) recordSent(put Node) {
	b.modify(site{put.Kind, put.Prefix}, func(n node, _ bool) (node, bool) {
		n.verdict = put.Verdict
		return n, false
	})
}

// compile returns the node that the kernel must hold at s. changed reports whether
// it differs from the node sent last, and limits whether s has limits of its own.
// Both are false if the book has no node at s.
//
// Each deadline is the latest of the node's entries and of all covering entries,
// whether expired or not: the kernel compares deadlines with the clock by itself.
// Drops count for the longest covering prefix that drops. If none drops, they count
// for the longest that would drop (shadow).
func (b *Book) compile(s site) (put Node, changed, limits bool) {
	put = Node{Kind: s.kind, Prefix: s.prefix}
	v := &put.Verdict
	var was Verdict
	exists := false
	var dropHit, shadowHit uint32
	for p, n := range b.table(s.kind).Supernets(s.prefix) {
		if p.Bits() == s.prefix.Bits() {
			was, exists = n.verdict, true
		}
		for r := n.head; r != 0; r = b.slab.at(r).next {
			rec := b.slab.at(r)
			tick := rec.deadline.Tick()
			switch {
			case rec.kind == Allow:
				v.Allow = max(v.Allow, tick)
			case rec.action == Drop:
				v.Drop = max(v.Drop, tick)
				dropHit = cmp.Or(dropHit, n.hit)
			case rec.action == Shadow:
				v.Shadow = max(v.Shadow, tick)
				shadowHit = cmp.Or(shadowHit, n.hit)
			case rec.action == Limit:
				v.Limit = max(v.Limit, tick)
				v.LimitID = cmp.Or(v.LimitID, b.firstLimit(n))
				limits = limits || p.Bits() == s.prefix.Bits()
			}
		}
	}
	v.HitID = cmp.Or(dropHit, shadowHit)
	return put, exists && *v != was, limits
}

// Nodes yields the nodes that the kernel's tries of a kind must hold. The book
// must not change meanwhile.
func (b *Book) Nodes(k Kind) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for p, n := range b.table(k).All() {
			if !yield(Node{Kind: k, Prefix: p, Verdict: n.verdict}) {
				return
			}
		}
	}
}

// Node returns the node that the kernel's trie must hold at p.
func (b *Book) Node(k Kind, p netip.Prefix) (Node, bool) {
	n, ok := b.table(k).Get(p)
	return Node{Kind: k, Prefix: p, Verdict: n.verdict}, ok
}

// HitID returns the drop counter of the block node at p itself; 0 if it has
// none.
func (b *Book) HitID(p netip.Prefix) uint32 {
	n, _ := b.blocks.Get(p)
	return n.hit
}

// Overlapping yields the entries of a kind that cover p or lie inside it.
func (b *Book) Overlapping(k Kind, p netip.Prefix) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for at, n := range b.table(k).Supernets(p) {
			if at != p && !b.entriesOf(n, yield) {
				return
			}
		}
		for _, n := range b.table(k).Subnets(p) {
			if !b.entriesOf(n, yield) {
				return
			}
		}
	}
}
