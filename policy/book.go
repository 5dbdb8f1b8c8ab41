package policy

import (
	"cmp"
	"iter"
	"math"
	"net/netip"
	"slices"
)

// Book holds all entries and, for every prefix, the node that the kernel's trie
// must hold. It is not safe for concurrent use.
type Book struct {
	slab   slab
	expiry expiry
	counts map[Group]int
	hits   numbers
	limits numbers
	sent   sent
	large  largeAllows
	tables
	snapshots int     // number of snapshots in use
	places    []place // memory for Compile
}

// node holds the entries of one kind at one prefix.
type node struct {
	head ref    // its first entry
	hit  uint32 // its own drop counter; block nodes only
	id   nodeID // where the verdict is that was sent to the kernel last
}

// Replies returns the number of entries that let answers to connections of this host pass.
func (b *Book) Replies() int { return b.slab.replies }

// Group is the key by which entries are counted.
type Group struct {
	Kind   Kind
	Family Family
	Origin string
}

// hitsAtRest and limitsAtRest are the numbers of freed drop counters and freed
// limits that wait before one of them is used again. Both are far higher than the
// number that can be freed while a packet is in flight. They are low enough that a
// host whose few entries change all the time needs little memory. A limit needs
// more memory than a counter, so fewer limits wait.
const (
	hitsAtRest   = 1 << 16
	limitsAtRest = 1024
)

// NewBook returns an empty book for a kernel with room for capacity drop counters
// and as many limits. Index 0 of each is never handed out.
func NewBook(capacity uint32) *Book {
	b := &Book{
		slab: newSlab(), counts: make(map[Group]int),
		hits: newNumbers(capacity, hitsAtRest), limits: newNumbers(capacity, limitsAtRest), tables: newTables(),
	}
	b.expiry.slab = &b.slab
	return b
}

// site is the kind and prefix of a node.
type site struct {
	kind   Kind
	prefix netip.Prefix
}

func siteOf(e Entry) site { return site{e.Kind, e.Prefix} }

// Apply makes the changes in order. It returns the changes to make in the kernel,
// and the ops that undo these ones. Prefixes must be masked and unmapped, as
// ParsePrefix returns them. Removing an entry that does not exist changes nothing.
func (b *Book) Apply(ops []Op) (delta Delta, undo []Op) {
	c := b.Begin()
	undo = c.Apply(ops)
	return c.Compile(), undo
}

// Put puts many entries, like Apply, but returns no undo.
func (b *Book) Put(entries []Entry) Delta {
	c := b.Begin()
	c.Put(entries)
	return c.Compile()
}

// Remove removes many entries, and returns no undo. All of them must exist.
func (b *Book) Remove(entries []EntryRef) Delta {
	c := b.Begin()
	c.Remove(entries)
	return c.Compile()
}

// Change is a change of the book that is not compiled yet. The entries of the
// book are changed at once, the verdicts of its nodes by Compile. Nothing else
// may change the book before Compile. The book may be read while Compile runs,
// except for verdicts.
type Change struct {
	book    *Book
	touched []site
	gone    map[site]node       // nodes that lost their last entry
	fresh   []uint32            // drop counters that were handed out
	freed   []uint32            // drop counters that were replaced
	owners  map[site]string     // origins of the owners before the present call
	ended   map[uint64]*limited // limits that were released, by owner
	puts    []Node              // memory for Delta.Put
}

// Begin starts a change that several calls make up. They share one compilation, so
// that the kernel gets one delta for all of them.
func (b *Book) Begin() *Change {
	return &Change{
		book: b, gone: make(map[site]node), owners: make(map[site]string), ended: make(map[uint64]*limited),
	}
}

// Again starts the next change with the memory of this one, whose delta must not be used any
// more.
func (c *Change) Again() {
	clear(c.gone)
	clear(c.owners)
	clear(c.ended)
	*c = Change{
		book: c.book, touched: c.touched[:0], gone: c.gone, fresh: c.fresh[:0], freed: c.freed[:0],
		owners: c.owners, ended: c.ended, puts: c.puts[:0],
	}
}

// Put puts many entries, like Apply, but returns no undo.
func (c *Change) Put(entries []Entry) {
	for _, e := range entries {
		n, r := c.book.lookUp(e.Key())
		c.put(n, r, e)
	}
	c.SettleOwners(math.MaxInt)
}

// Remove removes many entries, and returns no undo. All of them must exist.
func (c *Change) Remove(entries []EntryRef) {
	for _, r := range entries {
		c.remove(r)
	}
	c.SettleOwners(math.MaxInt)
}

// Apply makes ops, in order, and returns the operations that undo them.
func (c *Change) Apply(ops []Op) (undo []Op) {
	undo = c.Step(ops)
	c.SettleOwners(math.MaxInt)
	return undo
}

// Step makes a part of the operations that Apply would make at once, and returns the operations
// that undo them. SettleOwners must follow the last step.
func (c *Change) Step(ops []Op) (undo []Op) {
	b := c.book
	undo = make([]Op, 0, len(ops))
	for _, op := range ops {
		k := op.key()
		n, r := b.lookUp(k)
		switch {
		case r != 0:
			undo = append(undo, PutOp(b.slab.entry(r)))
		case op.IsPut():
			undo = append(undo, RemoveOp(k))
		}
		if op.IsPut() {
			c.put(n, r, op.Put)
		} else if r != 0 {
			c.remove(r)
		}
	}
	slices.Reverse(undo)
	return undo
}

// put makes e the entry at r, which has its key, or a new entry if r is 0. n is the node at
// its site, or zero.
func (c *Change) put(n node, r ref, e Entry) {
	b := c.book
	c.noteOwner(siteOf(e), n, r)
	if r != 0 {
		b.expiry.remove(r)
		b.slab.set(r, e)
	} else {
		r = b.slab.add(e)
		b.link(c, siteOf(e), r)
		b.count(e, 1)
	}
	c.putLimit(r, e)
	b.expiry.add(r)
	c.touched = append(c.touched, siteOf(e))
}

func (c *Change) remove(r ref) {
	b := c.book
	e := b.slab.entry(r)
	n, _ := b.table(e.Kind).Get(e.Prefix)
	c.noteOwner(siteOf(e), n, 0)
	b.expiry.remove(r)
	b.unlink(c, siteOf(e), r)
	c.endLimit(r)
	b.slab.remove(r)
	b.count(e, -1)
	c.touched = append(c.touched, siteOf(e))
}

// link puts r first at its site, and creates the node if there is none. A node
// that was removed earlier in the same change keeps its verdict, and in the same call its
// counter, unless SettleOwners replaces that.
func (b *Book) link(c *Change, s site, r ref) {
	b.modify(s, func(n node, exists bool) (node, bool) {
		if !exists {
			b.large.note(s, true)
			var revived bool
			if n, revived = c.gone[s]; revived {
				delete(c.gone, s)
			} else {
				n.id = b.sent.take()
			}
			_, sameCall := c.owners[s]
			if s.kind == Block && !(revived && sameCall) {
				c.freed = append(c.freed, n.hit)
				n.hit = b.hits.take()
				c.fresh = append(c.fresh, n.hit)
			}
		}
		b.slab.at(r).next = n.head
		n.head = r
		return n, false
	})
}

// unlink takes r out of its site. It removes the node with its last entry.
func (b *Book) unlink(c *Change, s site, r ref) {
	b.modify(s, func(n node, _ bool) (node, bool) {
		at := &n.head
		for *at != r {
			at = &b.slab.at(*at).next
		}
		*at = b.slab.at(r).next
		if n.head == 0 {
			b.large.note(s, false)
			c.gone[s] = n
			return n, true
		}
		return n, false
	})
}

// lookUp returns the node at the site of a key, or zero, and the entry with the key, or 0.
func (b *Book) lookUp(k Key) (n node, r ref) {
	n, _ = b.table(k.Kind).Get(k.Prefix) // a node has entries, so head is 0 only if there is none
	for r = n.head; r != 0; r = b.slab.at(r).next {
		if b.slab.origin(r) == k.Origin && b.slab.pendingID(r) == k.Pending {
			break
		}
	}
	return n, r
}

func (b *Book) count(e Entry, by int) {
	g := Group{e.Kind, FamilyOf(e.Prefix.Addr()), e.Origin}
	if b.counts[g] += by; b.counts[g] == 0 {
		delete(b.counts, g)
	}
}

// Get returns the entry with key k.
func (b *Book) Get(k Key) (Entry, bool) {
	_, r := b.lookUp(k)
	if r == 0 {
		return Entry{}, false
	}
	return b.slab.entry(r), true
}

// entriesOf yields the entries of a node, newest first.
func (b *Book) entriesOf(n node, yield func(Entry) bool) bool {
	for r := n.head; r != 0; r = b.slab.at(r).next {
		if !yield(b.slab.entry(r)) {
			return false
		}
	}
	return true
}

// Entries yields all entries of a kind by ascending prefix. The book must not
// change meanwhile.
func (b *Book) Entries(k Kind) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, n := range b.table(k).AllSorted() {
			if !b.entriesOf(n, yield) {
				return
			}
		}
	}
}

// EntryRef is a short name of an entry. It is valid while the entry is in the book.
type EntryRef = ref

// Refs returns the names of all entries of a kind by ascending prefix. With
// Resolve, a caller can read a long list in parts while the book changes.
func (b *Book) Refs(k Kind) []EntryRef {
	var refs []EntryRef
	for _, n := range b.table(k).AllSorted() {
		for r := n.head; r != 0; r = b.slab.at(r).next {
			refs = append(refs, r)
		}
	}
	return refs
}

// RefsOf is Refs for the entries of one origin. It looks at the records alone, which costs a
// few nanoseconds for each entry of the book.
func (b *Book) RefsOf(k Kind, origin string) []EntryRef {
	if b.CountOf(k, origin) == 0 {
		return nil
	}
	var refs []EntryRef
	for r := ref(1); r <= b.slab.used; r++ {
		if b.slab.at(r).kind == k && b.slab.origin(r) == origin {
			refs = append(refs, r)
		}
	}
	slices.SortFunc(refs, func(x, y EntryRef) int {
		return comparePrefix(b.slab.prefix(x), b.slab.prefix(y))
	})
	return refs
}

// Resolve returns the entry that has the name now. If the original entry was
// removed, the name may belong to no entry, or to a newer one of either kind.
func (b *Book) Resolve(r EntryRef) (Entry, bool) {
	if b.slab.at(r).kind == 0 {
		return Entry{}, false
	}
	return b.slab.entry(r), true
}

// comparePrefix orders prefixes as bart does: IPv4 first, then by address, then
// the shorter prefix first.
func comparePrefix(x, y netip.Prefix) int {
	return cmp.Or(x.Addr().Compare(y.Addr()), cmp.Compare(x.Bits(), y.Bits()))
}

// At yields the entries of a kind whose prefix is p.
func (b *Book) At(k Kind, p netip.Prefix) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		if n, ok := b.table(k).Get(p); ok {
			b.entriesOf(n, yield)
		}
	}
}

// Covering yields the entries of a kind whose prefix is p or covers it, longest
// prefix first.
func (b *Book) Covering(k Kind, p netip.Prefix) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, n := range b.table(k).Supernets(p) {
			if !b.entriesOf(n, yield) {
				return
			}
		}
	}
}

// Origin yields the names of the entries of one kind and origin that need no
// confirmation, in no particular order.
func (b *Book) Origin(k Kind, origin string) iter.Seq[EntryRef] {
	return func(yield func(EntryRef) bool) {
		for r := ref(1); r <= b.slab.used; r++ {
			if b.isOf(r, k, origin) && !yield(r) {
				return
			}
		}
	}
}

// OriginFrom is Origin in parts: it looks at up to n records from the one called
// from on, which is 1 at first, and returns those of the origin, and where to go on;
// 0 at the end. The book may change between the parts.
func (b *Book) OriginFrom(k Kind, origin string, from EntryRef, n int) (refs []EntryRef, next EntryRef) {
	end := min(b.slab.used, from+ref(n)-1)
	for r := from; r <= end; r++ {
		if b.isOf(r, k, origin) {
			refs = append(refs, r)
		}
	}
	if end == b.slab.used {
		return refs, 0
	}
	return refs, end + 1
}

// isOf reports whether r is a confirmed entry of the kind and origin.
func (b *Book) isOf(r ref, k Kind, origin string) bool {
	rec := b.slab.at(r)
	return rec.kind == k && !rec.isPending() && b.slab.origin(r) == origin // a free record has no kind
}

// Pending returns the entries that wait for the confirmation with this ID, or
// for any if id is empty.
func (b *Book) Pending(id string) []Entry {
	var found []Entry
	// Pending entries have a finite deadline, so all are in the expiry queue.
	for _, r := range b.expiry.refs {
		if b.slab.at(r).isPending() && (id == "" || b.slab.pendingID(r) == id) {
			found = append(found, b.slab.entry(r))
		}
	}
	slices.SortFunc(found, func(x, y Entry) int {
		return cmp.Or(cmp.Compare(x.Pending.ID, y.Pending.ID), comparePrefix(x.Prefix, y.Prefix))
	})
	return found
}

// CountOf returns the number of entries of a kind and origin.
func (b *Book) CountOf(kind Kind, origin string) (n int) {
	for g, count := range b.Counts() {
		if g.Kind == kind && g.Origin == origin {
			n += count
		}
	}
	return n
}

// Counts yields how many entries each group has.
func (b *Book) Counts() iter.Seq2[Group, int] {
	return func(yield func(Group, int) bool) {
		for g, n := range b.counts {
			if !yield(g, n) {
				return
			}
		}
	}
}

// Size returns the number of nodes in the kernel's trie for a kind and family.
func (b *Book) Size(k Kind, f Family) int {
	if f == IPv6 {
		return b.table(k).Size6()
	}
	return b.table(k).Size4()
}
