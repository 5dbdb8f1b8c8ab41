package index

import (
	"fmt"
	"iter"
	"net/netip"

	"github.com/paraxial/paraxial/policy"
)

// v4Spare is the number of lines that a new generation has for updates, in addition to a
// quarter of those that it needs itself.
const v4Spare = 512

// BuildV4 makes a generation of all IPv4 nodes of the book, with room for updates. It gets
// the memory from alloc.
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
		return nil, fmt.Errorf("build the IPv4 index: it needs %d lines, but can have %d at most", capacity, v4MaxLines)
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

// v4Need is the room that a generation needs.
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

// v4Scan is a copy of the IPv4 nodes of the book in a compact form without pointers. One
// walk over the book costs more than all other work of Build.
type v4Scan struct {
	book  Book
	wide  [1 << 16]uint32 // deadline of the whole /16, v4Mixed and v4Allowed
	long  [][]v4Long      // block nodes longer than a /16, ascending, in chunks
	chunk int             // position of regions
	at    int
}

// v4Mixed is set if allow entries cover a part of the /16.
const v4Mixed = 1 << 31

// v4Allowed is set if an allow entry covers the whole /16.
const v4Allowed = 1 << 30

// v4Long is a block node of 17 to 32 bits.
type v4Long struct {
	addr uint32
	rest uint32 // bits - 17 from bit 28 on, and the deadline
}

func (l v4Long) bits() int            { return int(l.rest>>28) + 17 }
func (l v4Long) deadline() v4Deadline { return v4Deadline(l.rest) & v4Forever }

// v4Chunk is the number of them in a chunk of 128 KiB.
const v4Chunk = 1 << 14

func scanV4(b Book) *v4Scan {
	s := &v4Scan{book: b}
	for n := range b.SortedNodes(policy.Block, policy.IPv4) {
		d := uint32(v4DeadlineOf(n.Verdict))
		if n.Prefix.Bits() > 16 {
			s.add(v4Long{v4Addr(n.Prefix), uint32(n.Prefix.Bits()-17)<<28 | d})
			continue
		}
		// Covering prefixes come first, so that the longest one stays.
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

// span returns the /16s that p covers, or the one that covers p.
func (s *v4Scan) span(p netip.Prefix) []uint32 {
	return s.wide[v4Addr(p)>>16:][:1<<max(0, 16-p.Bits())]
}

func (s *v4Scan) add(l v4Long) {
	last := len(s.long) - 1
	if last < 0 || len(s.long[last]) == cap(s.long[last]) {
		// The first chunks are smaller, for small books.
		s.long = append(s.long, make([]v4Long, 0, v4Chunk>>max(0, 6-len(s.long))))
		last++
	}
	s.long[last] = append(s.long[last], l)
}

// regions yields each /16 with nodes, after it is copied to r.
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

// region copies a /16 to r and skips its nodes.
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
