package index

import (
	"fmt"
	"iter"
	"net/netip"

	"github.com/paraxial/paraxial/policy"
)

// v4Spare is how many lines a new generation has for updates, besides a quarter
// of what it needs itself.
const v4Spare = 512

// BuildV4 makes a generation of all IPv4 nodes of the book, with room for
// updates, in memory that it asks alloc for.
func BuildV4(b Book, alloc Alloc) (*V4, error) {
	x := &V4{book: b}
	all := scanV4(b)
	need := all.measure(&x.region)
	nodes := (need.nodes + v4Group - 1) / v4Group * v4GroupLines
	x.groups, x.nodes = v4FirstLine, v4Group // no group yet
	x.groupsEnd = x.groups + nodes
	x.runs = x.groupsEnd * lineHalfs
	x.runsEnd = x.runs + need.leaves
	x.used = x.groupsEnd + v4Lines(need.leaves)
	capacity := x.used + need.more + (nodes+v4Lines(need.leaves)+need.more)/4 + v4Spare
	if capacity > v4MaxLines {
		return nil, fmt.Errorf("build the IPv4 index: %d lines are more than the %d that it can have", capacity, v4MaxLines)
	}
	words, err := alloc(capacity)
	if err != nil {
		return nil, fmt.Errorf("allocate an IPv4 index of %d lines: %w", capacity, err)
	}
	if len(words) < int(capacity)*lineWords {
		return nil, fmt.Errorf("allocate an IPv4 index of %d lines: got %d words", capacity, len(words))
	}
	x.words = words[:int(capacity)*lineWords]
	for range all.regions(&x.region) {
		if !x.write() {
			return nil, fmt.Errorf("build the IPv4 index: %d lines are too few", capacity)
		}
	}
	x.words[1] = uint64(capacity)
	x.words[0] = v4Format
	return x, nil
}

func v4Lines(leaves uint32) uint32 { return (leaves + lineHalfs - 1) / lineHalfs }

// v4Need is what a generation has to have room for.
type v4Need struct {
	nodes  uint32
	leaves uint32
	more   uint32 // lines
}

func (s *v4Scan) measure(r *v4Region) v4Need {
	var need v4Need
	for range s.regions(r) {
		if _, ok := r.uniform(); ok || len(r.entries) == 0 {
			continue
		}
		need.nodes++
		for at := r.from; at < r.to; at++ {
			n := len(r.of(at))
			need.leaves += uint32(min(n, 1))
			need.more += v4MoreLines(n)
		}
	}
	return need
}

// v4MoreLines returns how many lines a leaf of n entries needs.
func v4MoreLines(n int) uint32 {
	switch {
	case n <= 1:
		return 0
	case n <= v4Inline:
		return 1
	}
	return v4PageLines
}

// v4Scan is a copy of the book's IPv4 nodes in a small form without pointers.
// One walk over the book costs more than all else that Build does.
type v4Scan struct {
	book  Book
	wide  [1 << 16]uint32 // deadline of the /16 as a whole, and v4Mixed
	long  [][]v4Long      // block nodes longer than a /16, ascending, in chunks
	chunk int             // position of regions
	at    int
}

// v4Mixed says that allow entries have to do with a part of the /16.
const v4Mixed = 1 << 31

// v4Allowed is in the place of a deadline of a /16 that is allowed as a whole.
const v4Allowed = 1 << 30

// v4Long is a block node of 17 to 32 bits.
type v4Long struct {
	addr uint32
	rest uint32 // bits - 17 from bit 28 on, and the deadline
}

func (l v4Long) bits() int            { return int(l.rest>>28) + 17 }
func (l v4Long) deadline() v4Deadline { return v4Deadline(l.rest) & v4Forever }

// v4Chunk of these are 128 KiB.
const v4Chunk = 1 << 14

func scanV4(b Book) *v4Scan {
	s := &v4Scan{book: b}
	for n := range b.SortedNodes(policy.Block, policy.IPv4) {
		d := uint32(v4DeadlineOf(n.Verdict))
		if n.Prefix.Bits() > 16 {
			s.add(v4Long{v4Addr(n.Prefix), uint32(n.Prefix.Bits()-17)<<28 | d})
			continue
		}
		// The covering come first, so the longest stays.
		wide := s.span(n.Prefix)
		for i := range wide {
			wide[i] = d
		}
	}
	for n := range b.SortedNodes(policy.Allow, policy.IPv4) {
		flag := uint32(v4Allowed)
		if n.Prefix.Bits() > 16 {
			flag = v4Mixed
		}
		wide := s.span(n.Prefix)
		for i := range wide {
			wide[i] |= flag
		}
	}
	return s
}

// span returns the /16s that p has to do with.
func (s *v4Scan) span(p netip.Prefix) []uint32 {
	return s.wide[v4Addr(p)>>16:][:1<<max(0, 16-p.Bits())]
}

func (s *v4Scan) add(l v4Long) {
	last := len(s.long) - 1
	if last < 0 || len(s.long[last]) == cap(s.long[last]) {
		// The first ones are small, for small books.
		s.long = append(s.long, make([]v4Long, 0, v4Chunk>>max(0, 6-len(s.long))))
		last++
	}
	s.long[last] = append(s.long[last], l)
}

// regions yields each /16 that the book has to do with, once it is in r.
func (s *v4Scan) regions(r *v4Region) iter.Seq[*v4Region] {
	return func(yield func(*v4Region) bool) {
		s.chunk, s.at = 0, 0
		for hi := range uint32(len(s.wide)) {
			first := s.peek(hi)
			if s.wide[hi] == 0 && first == nil {
				continue
			}
			s.region(r, hi)
			if !yield(r) {
				return
			}
		}
	}
}

// region puts a /16 into r and goes past its nodes.
func (s *v4Scan) region(r *v4Region, hi uint32) {
	wide := s.wide[hi]
	r.reset(hi, 0, 256)
	if wide&v4Allowed != 0 {
		r.setAsked(0, 256)
	}
	r.setWhole(0, 256, v4Deadline(wide)&v4Forever)
	for l := s.peek(hi); l != nil; l = s.peek(hi) {
		r.add(l.addr, l.bits(), l.deadline())
		s.at++
	}
	r.complete(r.to)
	if wide&(v4Mixed|v4Allowed) == v4Mixed {
		r.gather(s.book, netip.PrefixFrom(v4AddrOf(hi<<16), 16))
	}
}

// peek returns the next node if it is in the /16, or nil.
func (s *v4Scan) peek(hi uint32) *v4Long {
	if s.chunk < len(s.long) && s.at == len(s.long[s.chunk]) {
		s.chunk++
		s.at = 0
	}
	if s.chunk == len(s.long) || s.long[s.chunk][s.at].addr>>16 != hi {
		return nil
	}
	return &s.long[s.chunk][s.at]
}
