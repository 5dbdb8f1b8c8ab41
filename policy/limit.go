package policy

import (
	"cmp"
	"hash/fnv"
	"iter"
	"maps"
	"net/netip"
	"slices"
)

// MaxLimitSteps is LIMIT_STEPS of bpf/types.h.
const MaxLimitSteps = 4

// LimitRecord is a record of the kernel's limits. It holds the token bucket of one
// entry. The first record of a prefix also holds the steps: the buckets that may
// decide for a source whose longest match with a limit is this prefix.
type LimitRecord struct {
	ID    uint32
	Owner uint64 // hash of the entry and its rate, by which a later run finds the bucket
	Rate  Rate
	HitID uint32 // the drop counter of the prefix
	Steps [MaxLimitSteps]LimitStep
	Fresh bool // the bucket is new and must be filled
}

// LimitStep is a bucket and the time until which it may decide. The strictest step
// is first and the deadlines grow, so the first live step is the strictest live
// one. The zero value is no step.
type LimitStep struct {
	Until  Tick
	Bucket uint32 // ID of a LimitRecord
}

// HeldLimit is a LimitRecord of an earlier run that is still in the kernel.
type HeldLimit struct {
	ID     uint32
	Owner  uint64
	HitID  uint32
	FullAt uint64 // when its bucket will be full, on any clock that does not jump
}

// limited holds the data of an entry that limits, beside its record in the slab.
type limited struct {
	rate Rate
	id   uint32      // 0 if no bucket was left
	sent LimitRecord // as last sent to the kernel, without Fresh; ID 0 if never sent
}

// nominalPacket is the packet length, in bytes, with which a rate of packets is
// compared with a rate of bytes.
const nominalPacket = 1000

// Compare orders rates, the stricter first. A rate of packets is compared with a
// rate of bytes as if every packet had 1000 bytes.
func (r Rate) Compare(o Rate) int {
	nominal := func(r Rate) uint64 {
		if r.Unit == Packets {
			return r.PerSecond * nominalPacket
		}
		return r.PerSecond
	}
	return cmp.Or(cmp.Compare(nominal(r), nominal(o)), cmp.Compare(r.Unit, o.Unit))
}

// putLimit gives r, which now holds e, a bucket. It keeps the bucket that it has,
// or had earlier in the same change, unless the rate differs.
func (c *Change) putLimit(r ref, e Entry) {
	c.endLimit(r)
	if e.Action != Limit {
		return
	}
	l := &limited{rate: e.Rate}
	c.book.slab.limits[r] = l
	owner := c.book.slab.limitOwner(r)
	if had := c.ended[owner]; had != nil {
		c.book.slab.limits[r] = had
		delete(c.ended, owner)
		return
	}
	l.id = c.book.limits.take()
}

// endLimit releases the bucket of r, if it has one.
func (c *Change) endLimit(r ref) {
	l := c.book.slab.limits[r]
	if l == nil {
		return
	}
	c.ended[c.book.slab.limitOwner(r)] = l
	delete(c.book.slab.limits, r)
}

// freeLimits adds the released buckets to delta. A bucket that was taken and
// released in the same change was never in the kernel. The buckets are freed in
// order, so that the same changes always lead to the same numbers.
func (c *Change) freeLimits(delta *Delta) {
	ended := slices.SortedFunc(maps.Values(c.ended), func(x, y *limited) int { return cmp.Compare(x.id, y.id) })
	for _, l := range ended {
		if l.sent.ID != 0 {
			delta.FreeLimits = append(delta.FreeLimits, l.id)
		}
		c.book.limits.give(l.id)
	}
}

// Limits returns the number of entries that limit.
func (b *Book) Limits() int { return len(b.slab.limits) }

// limitsOf yields the entries of a node that limit.
func (b *Book) limitsOf(n node) iter.Seq2[ref, *limited] {
	return func(yield func(ref, *limited) bool) {
		for r := n.head; r != 0; r = b.slab.at(r).next {
			if b.slab.at(r).action == Limit && !yield(r, b.slab.limits[r]) {
				return
			}
		}
	}
}

// firstLimit returns the ID by which the kernel finds the steps of a node, or 0 if
// the node has no limit. It is the lowest ID of the node's own limits, which a
// restart does not change.
func (b *Book) firstLimit(n node) (first uint32) {
	for _, l := range b.limitsOf(n) {
		if l.id != 0 && (first == 0 || l.id < first) {
			first = l.id
		}
	}
	return first
}

// compileLimits appends the records of the limits at p that differ from those in
// the kernel, or are missing there.
func (b *Book) compileLimits(p netip.Prefix, limits []LimitRecord) []LimitRecord {
	n, _ := b.blocks.Get(p)
	first := b.firstLimit(n)
	for r, l := range b.limitsOf(n) {
		if l.id == 0 {
			continue
		}
		want := LimitRecord{ID: l.id, Owner: b.slab.limitOwner(r), Rate: l.rate, HitID: n.hit}
		if l.id == first {
			want.Steps = b.limitSteps(p)
		}
		if want == l.sent {
			continue
		}
		put := want
		put.Fresh = l.sent.ID == 0
		l.sent = want
		limits = append(limits, put)
	}
	return limits
}

// limitSteps returns the buckets that may decide for the sources that p covers. A
// bucket is left out if a stricter one lives at least as long. If there are more
// than MaxLimitSteps, the last step is the bucket that lives longest, so that a
// limit is in force in any case. The daemon writes the others when steps expire.
func (b *Book) limitSteps(p netip.Prefix) (steps [MaxLimitSteps]LimitStep) {
	type candidate struct {
		LimitStep
		rate Rate
		bits int
	}
	var all []candidate
	for covering, n := range b.blocks.Supernets(p) {
		for r, l := range b.limitsOf(n) {
			if l.id != 0 {
				all = append(all, candidate{LimitStep{b.slab.at(r).deadline.Tick(), l.id}, l.rate, covering.Bits()})
			}
		}
	}
	// Of equal limits the one of the longest prefix decides. The ID comes last, so
	// that the result is always the same.
	slices.SortFunc(all, func(x, y candidate) int {
		return cmp.Or(x.rate.Compare(y.rate), cmp.Compare(y.Until, x.Until),
			cmp.Compare(y.bits, x.bits), cmp.Compare(x.Bucket, y.Bucket))
	})
	n, until := 0, TickNever
	for _, c := range all {
		if c.Until > until {
			steps[min(n, MaxLimitSteps-1)] = c.LimitStep
			n, until = n+1, c.Until
		}
	}
	return steps
}

// adoptLimits gives the loaded limits the buckets that the kernel holds for them,
// and new buckets to the rest. After a crash the kernel may hold two buckets for
// one entry; the emptier one was in use.
func (b *Book) adoptLimits(held iter.Seq[HeldLimit], delta *Delta) {
	var ids []uint32
	owned := make(map[uint64]HeldLimit)
	for h := range held {
		ids = append(ids, h.ID)
		if other, twice := owned[h.Owner]; !twice || other.FullAt < h.FullAt {
			owned[h.Owner] = h
		}
	}
	used := make(map[uint32]bool)
	for r, l := range b.slab.limits {
		if h, ok := owned[b.slab.limitOwner(r)]; ok && b.limits.adopt(h.ID) {
			l.id, l.sent.ID = h.ID, h.ID
			b.adoptHit(b.slab.prefix(r), h.HitID)
		}
	}
	for _, l := range b.slab.limits {
		if l.id == 0 {
			l.id = b.limits.take()
		}
		used[l.id] = true
	}
	for _, id := range ids {
		if !used[id] {
			delta.FreeLimits = append(delta.FreeLimits, id)
		}
	}
}

// compileAllLimits adds all limits to delta.
func (b *Book) compileAllLimits(delta *Delta) {
	for r := range b.slab.limits {
		delta.Limits = b.compileLimits(b.slab.prefix(r), delta.Limits)
	}
}

// adoptHit keeps the drop counter that the kernel has for the node at p.
func (b *Book) adoptHit(p netip.Prefix, hit uint32) {
	b.modify(site{Block, p}, func(n node, _ bool) (node, bool) {
		if n.hit == 0 && b.hits.adopt(hit) {
			n.hit = hit
		}
		return n, false
	})
}

// limitOwner returns a hash of the entry r and its rate. It is the same in every run.
func (s *slab) limitOwner(r ref) uint64 {
	rec := s.at(r)
	h := fnv.New64a()
	addr := s.prefix(r).Addr().As16()
	h.Write(addr[:])
	h.Write([]byte{rec.bits, byte(rec.flags & isIPv4)})
	for _, part := range []string{s.origin(r), s.pendingID(r), s.limits[r].rate.String()} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return max(h.Sum64(), 1)
}
