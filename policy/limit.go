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

// LimitRecord is a record of the kernel's limits: the token bucket of one entry and,
// if it is the first of its prefix, the buckets that may decide for a source
// whose longest match with a limit this prefix is.
type LimitRecord struct {
	ID    uint32
	Owner uint64 // names the entry and its rate, for a later run to know the bucket by
	Rate  Rate
	HitID uint32 // the drop counter of the prefix
	Steps [MaxLimitSteps]LimitStep
	Fresh bool // nobody has used the bucket: it is to be filled
}

// LimitStep is a bucket and how long it may decide. The strictest is first and
// deadlines grow, so that the first live step is the strictest live one. The
// zero step is none.
type LimitStep struct {
	Until  Tick
	Bucket uint32 // ID of a LimitRecord
}

// HeldLimit is what a later run finds of a LimitRecord in the kernel.
type HeldLimit struct {
	ID     uint32
	Owner  uint64
	HitID  uint32
	FullAt uint64 // when its bucket will be full, on any clock that does not jump
}

// limited is what the book has of a limit beside its record.
type limited struct {
	rate Rate
	id   uint32      // 0: none was left
	told LimitRecord // what the kernel was told, without Fresh; ID 0: nothing
}

// nominalPacket is how long a packet is taken to be where a rate of packets
// and one of bytes are compared, in bytes.
const nominalPacket = 1000

// Compare orders rates, the stricter first. A rate of packets is compared with
// one of bytes as if packets had 1000 bytes.
func (r Rate) Compare(o Rate) int {
	nominal := func(r Rate) uint64 {
		if r.Unit == Packets {
			return r.PerSecond * nominalPacket
		}
		return r.PerSecond
	}
	return cmp.Or(cmp.Compare(nominal(r), nominal(o)), cmp.Compare(r.Unit, o.Unit))
}

// putLimit gives r, which has become e, its bucket. It keeps the one that it
// has, or had in the same change, unless the rate is another.
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

// endLimit lets go of the bucket of r, if it has one.
func (c *Change) endLimit(r ref) {
	l := c.book.slab.limits[r]
	if l == nil {
		return
	}
	c.ended[c.book.slab.limitOwner(r)] = l
	delete(c.book.slab.limits, r)
}

// freeLimits adds to delta the buckets that were let go of. One that came and
// went in the same change was never in the kernel. They go in order, so that the
// same changes lead to the same numbers.
func (c *Change) freeLimits(delta *Delta) {
	ended := slices.SortedFunc(maps.Values(c.ended), func(x, y *limited) int { return cmp.Compare(x.id, y.id) })
	for _, l := range ended {
		if l.told.ID != 0 {
			delta.FreeLimits = append(delta.FreeLimits, l.id)
		}
		c.book.limits.give(l.id)
	}
}

// Limits returns how many entries limit.
func (b *Book) Limits() int { return len(b.slab.limits) }

// LimitsFull tells whether there are more limits than the kernel has buckets.
func (b *Book) LimitsFull() bool { return b.Limits() >= int(b.limits.capacity) }

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

// firstLimit returns the ID by which the kernel finds the steps of a node: the
// lowest of its own limits, which a restart does not change; 0 if it has none.
func (b *Book) firstLimit(n node) (first uint32) {
	for _, l := range b.limitsOf(n) {
		if l.id != 0 && (first == 0 || l.id < first) {
			first = l.id
		}
	}
	return first
}

// compileLimits appends the records of the limits at p that the kernel has
// otherwise, or not at all.
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
		if want == l.told {
			continue
		}
		put := want
		put.Fresh = l.told.ID == 0
		l.told = want
		limits = append(limits, put)
	}
	return limits
}

// limitSteps returns the buckets that may decide for what p covers: of each
// rate, those that no stricter one outlives. Where they are more than the kernel
// takes, the longest lived stays, so that a limit is in force in any case; the
// daemon writes the others when those before them have expired.
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
	// Of equals the longest prefix decides, and always the same.
	slices.SortFunc(all, func(x, y candidate) int {
		return cmp.Or(x.rate.Compare(y.rate), cmp.Compare(y.Until, x.Until), cmp.Compare(y.bits, x.bits), cmp.Compare(x.Bucket, y.Bucket))
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

// adoptLimits gives the limits that were loaded the buckets that the kernel
// holds for them, and others to the rest. Two that are held for one entry are
// what a crash leaves; the emptier is the one that was in use.
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
			l.id, l.told.ID = h.ID, h.ID
			b.adoptHit(b.slab.at(r).prefix(), h.HitID)
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
		delta.Limits = b.compileLimits(b.slab.at(r).prefix(), delta.Limits)
	}
}

// adoptHit goes on with the drop counter that the kernel has for the node at p.
func (b *Book) adoptHit(p netip.Prefix, hit uint32) {
	b.modify(site{Block, p}, func(n node, _ bool) (node, bool) {
		if n.hit == 0 && b.hits.adopt(hit) {
			n.hit = hit
		}
		return n, false
	})
}

// limitOwner names the entry r and its rate, the same in every run.
func (s *slab) limitOwner(r ref) uint64 {
	rec := s.at(r)
	h := fnv.New64a()
	h.Write(rec.addr[:])
	h.Write([]byte{rec.bits, byte(rec.flags & isIPv4)})
	for _, part := range []string{s.origin(r), s.pendingID(r), s.limits[r].rate.String()} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return max(h.Sum64(), 1)
}
