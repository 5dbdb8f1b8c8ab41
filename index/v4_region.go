package index

import (
	"encoding/binary"
	"net/netip"

	"github.com/paraxial/paraxial/policy"
)

// v4Region is what the book says of a prefix of length 16 to 24, by /24: the
// entries of its /24s one after the other, without those that change nothing.
type v4Region struct {
	hi      uint32 // the /16
	from    int    // the first /24
	to      int    // past the last
	entries []v4Entry
	ends    [256]int // where the entries of each /24 end

	next   int             // the first /24 whose entries are not complete
	start  int             // where its entries start
	whole  [256]v4Deadline // of the longest prefix that covers each /24
	asked  [256]bool       // an allow entry has to do with the /24
	covers [9]v4Entry      // nested prefixes around the last entry
	depth  int
}

// gather reads the region of prefix p.
func (r *v4Region) gather(b Book, p netip.Prefix) {
	r.reset(p)
	for range b.NodesCovering(policy.Allow, p) {
		r.setAsked(r.from, r.to)
		break
	}
	for n := range b.NodesInside(policy.Allow, p) {
		r.setAsked(r.span(n.Prefix))
	}
	for n := range b.NodesCovering(policy.Block, p) {
		// The longest one, which has the deadlines of all that cover it.
		r.setWhole(r.from, r.to, v4DeadlineOf(n.Verdict))
		break
	}
	for n := range b.NodesInside(policy.Block, p) {
		from, to := r.span(n.Prefix)
		r.complete(from)
		if n.Prefix.Bits() <= 24 {
			r.setWhole(from, to, v4DeadlineOf(n.Verdict))
		} else if !r.asked[from] {
			r.add(n)
		}
	}
	r.complete(r.to)
}

func (r *v4Region) reset(p netip.Prefix) {
	addr := p.Addr().As4()
	r.hi = uint32(binary.BigEndian.Uint16(addr[:]))
	r.from = int(addr[2])
	r.to = r.from + 1<<(24-p.Bits())
	r.entries = r.entries[:0]
	r.next, r.start = r.from, 0
	clear(r.whole[r.from:r.to])
	clear(r.asked[r.from:r.to])
	r.depth = 0
}

// span returns the /24s that p, a prefix inside the region, has to do with.
func (r *v4Region) span(p netip.Prefix) (from, to int) {
	addr := p.Addr().As4()
	from = int(addr[2])
	return from, from + 1<<max(0, 24-p.Bits())
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

// complete ends all /24s before at. Nodes come in ascending order, the covering
// first, so nothing more can come for those.
func (r *v4Region) complete(at int) {
	for ; r.next < at; r.next++ {
		r.begin()
		r.ends[r.next] = len(r.entries)
		r.start = len(r.entries)
		r.depth = 0
	}
}

// begin puts the entry for the whole of the next /24 first.
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

// add appends a node longer than a /24, unless what covers it lasts as long.
func (r *v4Region) add(n policy.Node) {
	r.begin()
	lo := n.Prefix.Addr().As4()[3]
	for r.depth > 0 && !r.covers[r.depth-1].covers(lo) {
		r.depth--
	}
	d := v4DeadlineOf(n.Verdict)
	if r.depth == 0 || r.covers[r.depth-1].deadline() < d {
		r.push(v4EntryOf(lo, uint8(32-n.Prefix.Bits()), d))
	}
}

func (r *v4Region) push(e v4Entry) {
	r.entries = append(r.entries, e)
	r.covers[r.depth] = e
	r.depth++
}

// of returns the entries of a /24. None covers an earlier one.
func (r *v4Region) of(at int) []v4Entry {
	start := 0
	if at > r.from {
		start = r.ends[at-1]
	}
	return r.entries[start:r.ends[at]]
}
