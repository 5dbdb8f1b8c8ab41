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
	delta := Delta{FreshHits: c.fresh, Put: c.puts}
	slices.SortFunc(c.touched, func(x, y site) int {
		return cmp.Or(cmp.Compare(x.kind, y.kind), comparePrefix(x.prefix, y.prefix))
	})
	// Most changes put one node for each touched site, and few put many more.
	delta.Put = slices.Grow(delta.Put, len(c.touched))
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
		if c.book.sent.at(n.id) != (Verdict{}) {
			delta.Delete = append(delta.Delete, Node{Kind: s.kind, Prefix: s.prefix})
		}
		c.book.hits.give(n.hit)
		c.book.sent.give(n.id, c.book.snapshots > 0)
	}
	for _, id := range c.freed {
		c.book.hits.give(id)
	}
	c.freeLimits(&delta)
	c.puts = delta.Put
	return delta
}

func covers(outer, inner netip.Prefix) bool {
	return outer.IsValid() && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// recompile adds to delta the nodes at s and below s whose verdict changes, and
// their limits. It changes no table.
func (b *Book) recompile(s site, delta *Delta) {
	n, above := b.above(s)
	if s.prefix.IsSingleIP() {
		// Most sites are single addresses, which cover no other site.
		if n.head != 0 {
			b.send(s, n, b.combine(above, n), delta)
		}
		return
	}
	// Subnets come in the order of a walk down the tree, so those that cover the
	// present one are on the stack.
	type level struct {
		prefix netip.Prefix
		c      combined
	}
	stack := []level{{c: above}}
	for p, n := range b.table(s.kind).Subnets(s.prefix) {
		for len(stack) > 1 && !covers(stack[len(stack)-1].prefix, p) {
			stack = stack[:len(stack)-1]
		}
		c := b.combine(stack[len(stack)-1].c, n)
		stack = append(stack, level{p, c})
		b.send(site{s.kind, p}, n, c, delta)
	}
}

// send adds a node to delta if its verdict changes, and its limits.
func (b *Book) send(s site, n node, c combined, delta *Delta) {
	if v := c.verdict(); v != b.sent.at(n.id) {
		b.sent.set(n.id, v)
		delta.Put = append(delta.Put, Node{Kind: s.kind, Prefix: s.prefix, Verdict: v})
	}
	if b.hasAction(n, Limit) {
		delta.Limits = b.compileLimits(s.prefix, delta.Limits)
	}
}

// combined is the verdict of the entries of a node and of all nodes that cover it.
// Each deadline is the latest of theirs, whether expired or not: the kernel
// compares deadlines with the clock by itself.
type combined struct {
	deadlines          Verdict // without HitID
	dropHit, shadowHit uint32  // the counters of the longest prefix that drops, and that would
}

// verdict returns the verdict for the kernel. Drops count for the longest covering
// prefix that drops. If none drops, they count for the longest that would drop
// (shadow).
//
// A shadow deadline that is not later than that of a stronger action never decides, and is left
// out: a shadow entry of a wide prefix would otherwise change all blocks inside it.
func (c combined) verdict() Verdict {
	v := c.deadlines
	v.HitID = cmp.Or(c.dropHit, c.shadowHit)
	if v.Shadow <= max(v.Drop, v.Limit) {
		v.Shadow = 0
	}
	return v
}

// combine adds the entries of n to those of the nodes that cover it.
func (b *Book) combine(c combined, n node) combined {
	v := &c.deadlines
	limits := false
	for r := n.head; r != 0; r = b.slab.at(r).next {
		rec := b.slab.at(r)
		tick := rec.deadline.Tick()
		switch {
		case rec.kind == Allow:
			v.Allow = max(v.Allow, tick)
		case rec.action == Drop:
			v.Drop = max(v.Drop, tick)
			c.dropHit = cmp.Or(n.hit, c.dropHit)
		case rec.action == Shadow:
			v.Shadow = max(v.Shadow, tick)
			c.shadowHit = cmp.Or(n.hit, c.shadowHit)
		case rec.action == Limit:
			v.Limit = max(v.Limit, tick)
			limits = true
		}
		if rec.flags&passReplies == 0 && (rec.action == Drop || rec.action == Limit) {
			v.Strict = max(v.Strict, tick)
		}
	}
	if limits {
		v.LimitID = cmp.Or(b.firstLimit(n), v.LimitID)
	}
	return c
}

// place is a node and the length of its prefix.
type place struct {
	bits int
	node
}

// above returns the node at s, or zero, and the combination of the nodes that cover it.
func (b *Book) above(s site) (at node, c combined) {
	b.places = b.places[:0] // variables of this function would be allocated for each call
	for p, n := range b.table(s.kind).Supernets(s.prefix) {
		b.places = append(b.places, place{p.Bits(), n})
	}
	covering := b.places
	if len(covering) > 0 && covering[0].bits == s.prefix.Bits() {
		at, covering = covering[0].node, covering[1:]
	}
	for _, p := range slices.Backward(covering) {
		c = b.combine(c, p.node)
	}
	return at, c
}

// Nodes yields the nodes that the kernel's tries of a kind must hold. The book
// must not change meanwhile.
func (b *Book) Nodes(k Kind) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for p, n := range b.table(k).All() {
			if !yield(Node{Kind: k, Prefix: p, Verdict: b.sent.at(n.id)}) {
				return
			}
		}
	}
}

// HasNode reports whether the kernel's trie must hold a node at p.
func (b *Book) HasNode(k Kind, p netip.Prefix) bool {
	if b.Size(k, FamilyOf(p.Addr())) == 0 {
		return false
	}
	_, ok := b.table(k).Get(p)
	return ok
}

// Node returns the node that the kernel's trie must hold at p.
func (b *Book) Node(k Kind, p netip.Prefix) (Node, bool) {
	n, ok := b.table(k).Get(p)
	if !ok {
		return Node{Kind: k, Prefix: p}, false
	}
	return Node{Kind: k, Prefix: p, Verdict: b.sent.at(n.id)}, true
}

// HitID returns the drop counter of the block node at p itself; 0 if it has
// none.
func (b *Book) HitID(p netip.Prefix) uint32 {
	n, _ := b.blocks.Get(p)
	return n.hit
}

// HitsAfter returns the number below which all drop counters are that the next n new prefixes get.
func (b *Book) HitsAfter(n int) uint32 { return b.hits.after(n) }

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
