package index

import (
	"encoding/binary"
	"net/netip"

	"github.com/paraxial/paraxial/policy"
)

// v4Region has the entries for a prefix of length 16 to 24, one /24 after the other, without
// entries that change no answer.
type v4Region struct {
	hi      uint32 // the /16
	from    int    // the first /24
	to      int    // after the last
	entries []v4Entry
	ends    [256]int // the end of the entries of each /24

	next   int             // the first /24 whose entries are not complete
	start  int             // the start of its entries
	whole  [256]v4Deadline // of the longest prefix that covers each /24
	asked  [256]bool       // an allow entry covers the /24 or a part of it
	covers [9]v4Entry      // nested prefixes around the last entry
	depth  int
}

// gather reads the region of prefix p from the book.
func (r *v4Region) gather(b Book, p netip.Prefix) {
	addr := v4Addr(p)
	from, to := v4Span(byte(addr>>8), p.Bits())
	r.reset(addr>>16, from, to)
	for range b.NodesCovering(policy.Allow, p) {
		r.setAsked(r.from, r.to)
		break
	}
	for n := range b.NodesInside(policy.Allow, p) {
		from, to := v4Span(byte(v4Addr(n.Prefix)>>8), n.Prefix.Bits())
		r.setAsked(from, to)
	}
	for n := range b.NodesCovering(policy.Block, p) {
		// The longest one. Its verdict includes the deadlines of those that cover it.
		r.setWhole(r.from, r.to, v4DeadlineOf(n.Verdict))
		break
	}
	for n := range b.NodesInside(policy.Block, p) {
		r.add(v4Addr(n.Prefix), n.Prefix.Bits(), v4DeadlineOf(n.Verdict))
	}
	r.complete(r.to)
}

func (r *v4Region) reset(hi uint32, from, to int) {
	r.hi, r.from, r.to = hi, from, to
	r.entries = r.entries[:0]
	r.next, r.start = from, 0
	clear(r.whole[from:to])
	clear(r.asked[from:to])
	r.depth = 0
}

func v4Addr(p netip.Prefix) uint32 {
	b := p.Addr().As4()
	return binary.BigEndian.Uint32(b[:])
}

func v4AddrOf(addr uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(addr >> 24), byte(addr >> 16), byte(addr >> 8), byte(addr)})
}

// v4Span returns the /24s that a prefix of 16 or more bits with this third byte covers, or
// the one that covers it.
func v4Span(third byte, bits int) (from, to int) {
	return int(third), int(third) + 1<<max(0, 24-bits)
}

func (r *v4Region) setAsked(from, to int) {
	for i := from; i < to; i++ {
		r.asked[i] = true
	}
}

func (r *v4Region) setWhole(from, to int, d v4Deadline) {
	for i := from; i < to; i++ {
		r.whole[i] = d
	}
}

// complete ends the entries of all /24s before at.
func (r *v4Region) complete(at int) {
	for ; r.next < at; r.next++ {
		r.begin()
		r.ends[r.next] = len(r.entries)
		r.start = len(r.entries)
		r.depth = 0
	}
}

// begin adds the entry for the whole of the next /24, which comes first.
func (r *v4Region) begin() {
	if len(r.entries) > r.start {
		return
	}
	d := r.whole[r.next]
	if r.asked[r.next] {
		d = v4AlwaysAsk
	}
	if d != 0 {
		r.push(v4EntryOf(0, v4Whole, d))
	}
}

// add adds a block node inside the region. Nodes come in ascending order, covering ones
// first.
func (r *v4Region) add(addr uint32, bits int, d v4Deadline) {
	from, to := v4Span(byte(addr>>8), bits)
	r.complete(from)
	if bits <= 24 {
		r.setWhole(from, to, d)
	} else if !r.asked[from] {
		r.addLong(uint8(addr), uint8(32-bits), d)
	}
}

// addLong appends an entry for a part of the next /24, unless a covering entry lasts as long
// or longer.
func (r *v4Region) addLong(lo, shift uint8, d v4Deadline) {
	r.begin()
	for r.depth > 0 && !r.covers[r.depth-1].covers(lo) {
		r.depth--
	}
	if r.depth == 0 || r.covers[r.depth-1].deadline() < d {
		r.push(v4EntryOf(lo, shift, d))
	}
}

func (r *v4Region) push(e v4Entry) {
	r.entries = append(r.entries, e)
	r.covers[r.depth] = e
	r.depth++
}

// of returns the entries of a /24. No entry covers an earlier one.
func (r *v4Region) of(at int) []v4Entry {
	start := 0
	if at > r.from {
		start = r.ends[at-1]
	}
	return r.entries[start:r.ends[at]]
}

// uniform returns the deadline of the region if it is a whole /16 with a single deadline.
func (r *v4Region) uniform() (v4Deadline, bool) {
	if r.to-r.from != 256 || len(r.entries) != 256 {
		return 0, false
	}
	first := r.entries[0]
	for _, e := range r.entries {
		if e != first || e.shift() != v4Whole {
			return 0, false
		}
	}
	return first.deadline(), true
}
