package index

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"sync/atomic"

	"github.com/paraxial/paraxial/policy"
)

// The layout that bpf/index_v4.h describes.
const (
	lineWords = 8
	lineHalfs = 2 * lineWords // u32

	v4RootLine  = 1
	v4RootLines = 4096
	v4FirstLine = v4RootLine + v4RootLines // after the fixed part

	v4Uniform = 1 << 31 // in a root word

	v4Group      = 8 // nodes
	v4GroupLines = 5

	v4More          = 1 << 31 // in a leaf
	v4Page          = 1 << 30 // in a leaf with v4More
	v4LineMask      = 1<<30 - 1
	v4PrefixMask    = 1<<9 - 1
	v4DeadlineShift = 9
	v4QuantumShift  = 8
	v4PageLines     = 16

	v4Whole = 8 // shift of a prefix that covers the whole /24

	v4Forever   v4Deadline = 1<<22 - 1
	v4AlwaysAsk v4Deadline = 1

	// v4Format is in the first word of the header.
	v4Format = 0x3476_0003

	// v4MaxLines is the size of the largest generation: a root word can address this
	// many lines.
	v4MaxLines = 1 << 28
)

// v4Deadline is a deadline in the index: 0 for none, else one more than the tick / 256,
// rounded down.
type v4Deadline uint32

// v4DeadlineOf returns the deadline for a block node. For a node that drops nothing, the
// tries must be asked.
func v4DeadlineOf(v policy.Verdict) v4Deadline {
	switch v.Drop {
	case policy.TickNever:
		return v4AlwaysAsk
	case policy.TickForever:
		return v4Forever
	}
	return min(v4Deadline(v.Drop>>v4QuantumShift)+1, v4Forever-1)
}

func (d v4Deadline) answer(now policy.Tick) Answer {
	switch {
	case d == 0:
		return Clean
	case d == v4Forever || now < policy.Tick(d-1)<<v4QuantumShift:
		return Drop
	}
	return Ask
}

// v4Entry is a leaf, or one prefix in the line of a leaf.
type v4Entry uint32

func v4EntryOf(lo, shift uint8, d v4Deadline) v4Entry {
	prefix := (v4Entry(lo)<<1 | 1) >> shift << shift
	return prefix | 1<<shift | v4Entry(d)<<v4DeadlineShift
}

func (e v4Entry) shift() uint8         { return uint8(bits.TrailingZeros32(uint32(e))) }
func (e v4Entry) lo() uint8            { return uint8((e & v4PrefixMask &^ (1 << e.shift())) >> 1) }
func (e v4Entry) deadline() v4Deadline { return v4Deadline(e>>v4DeadlineShift) & v4Forever }

// isPage and line are defined for entries with v4More.
func (e v4Entry) isPage() bool { return e&v4Page != 0 }
func (e v4Entry) line() uint32 { return uint32(e & v4LineMask) }

// covers tells whether e is a prefix that covers lo.
func (e v4Entry) covers(lo uint8) bool {
	return e != 0 && (lo^e.lo())>>e.shift() == 0
}

// V4 is a generation of the IPv4 index and its only writer. It is not safe for concurrent
// use, but the program may read at any time.
type V4 struct {
	book  Book
	words []uint64
	used  uint32 // lines
	// Ranges that Build reserves, so that nodes are close to each other and leaves
	// have no gaps. Updates use the rest of them, and then lines from the end.
	groups, groupsEnd uint32 // lines
	group, nodes      uint32 // the group for new nodes, and how many of its nodes are used
	runs, runsEnd     uint32 // u32
	region            v4Region
}

// Lines returns how many lines of the generation are used, and how many it has.
func (x *V4) Lines() (used, capacity uint32) {
	return x.used, uint32(len(x.words) / lineWords)
}

// Lookup returns the answer of the program for source a, an IPv4 address, at tick now.
func (x *V4) Lookup(a netip.Addr, now policy.Tick) Answer {
	b := a.As4()
	addr := binary.BigEndian.Uint32(b[:])
	root := x.root(addr >> 16)
	switch {
	case root == 0:
		return Clean
	case root&v4Uniform != 0:
		return (v4Deadline(root) & v4Forever).answer(now)
	}
	at, ok := x.node(root).find(uint8(addr >> 8))
	if !ok {
		return Clean
	}
	return x.latest(v4Entry(x.load(at)), uint8(addr)).answer(now)
}

// latest returns the latest deadline of the entries of a leaf that cover lo.
func (x *V4) latest(leaf v4Entry, lo uint8) v4Deadline {
	switch {
	case leaf&v4More == 0:
		if leaf.covers(lo) {
			return leaf.deadline()
		}
		return 0
	case leaf.isPage():
		return v4Deadline(x.load(leaf.line()*lineHalfs + uint32(lo)))
	}
	var latest v4Deadline
	for i := range uint32(lineHalfs) {
		if e := v4Entry(x.load(leaf.line()*lineHalfs + i)); e.covers(lo) {
			latest = max(latest, e.deadline())
		}
	}
	return latest
}

// load reads the u32 at a place counted in u32.
func (x *V4) load(at uint32) uint32 {
	return uint32(atomic.LoadUint64(&x.words[at/2]) >> (32 * (at & 1)))
}

// store writes the u32 at a place. The other half of the word has no other writer.
func (x *V4) store(at, v uint32) {
	shift := 32 * (at & 1)
	word := &x.words[at/2]
	atomic.StoreUint64(word, *word&^(0xffffffff<<shift)|uint64(v)<<shift)
}

// root returns the root word of a /16.
func (x *V4) root(hi uint32) uint32 { return x.load(v4RootLine*lineHalfs + hi) }

// setRoot publishes the root word of a /16.
func (x *V4) setRoot(hi, v uint32) { x.store(v4RootLine*lineHalfs+hi, v) }

// v4Node is the node of a /16. A root word that is not uniform leads to it.
type v4Node struct {
	present []uint64 // a bit for each /24 that has a leaf
	leaves  *uint64
}

func (x *V4) node(root uint32) v4Node {
	group, i := root/v4Group*lineWords, root%v4Group
	return v4Node{
		present: x.words[group+4*i:][:4],
		leaves:  &x.words[group+(v4GroupLines-1)*lineWords+i],
	}
}

// first returns the place of the first leaf.
func (n v4Node) first() uint32 { return uint32(*n.leaves) }

// find returns the place of the leaf of a /24.
func (n v4Node) find(at uint8) (place uint32, ok bool) {
	quarter, bit := at/64, uint64(1)<<(at%64)
	if n.present[quarter]&bit == 0 {
		return 0, false
	}
	rank := uint32(*n.leaves >> (32 + 8*quarter) & 0xff)
	return n.first() + rank + uint32(bits.OnesCount64(n.present[quarter]&(bit-1))), true
}
