package index

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"sync/atomic"

	"github.com/paraxial/paraxial/policy"
)

// The layout of bpf/index_v4.h, which explains it.
const (
	lineWords = 8

	v4RootLine  = 1
	v4RootLines = 4096
	v4FirstLine = v4RootLine + v4RootLines // past the fixed part

	v4Uniform = 1 << 31 // in a root slot

	v4NodeBase  = 4 // words of a node
	v4NodeRanks = 5

	v4PrefixShift   = 8
	v4ShiftMask     = 15
	v4DeadlineShift = 12
	v4LineShift     = 40
	v4LineMask      = 1<<23 - 1
	v4More          = 1 << 63
	v4EntryMask     = 1<<v4LineShift - 1 // an entry without its line

	v4Whole     = 8 // shift of a prefix that is the whole /24
	v4Page      = 9 // in the place of a shift
	v4PageLines = 16

	v4Forever   v4Deadline = 1<<28 - 1
	v4AlwaysAsk v4Deadline = 1

	// v4Format is in the first word of the header.
	v4Format = 0x3476_0001
)

// v4Deadline is a deadline as the index holds it: 0 for none, else one more than
// the tick / 16, rounded down.
type v4Deadline uint32

// v4DeadlineOf returns what the index holds for a block node. One that drops
// nothing is to be asked about.
func v4DeadlineOf(v policy.Verdict) v4Deadline {
	switch v.Drop {
	case policy.TickNever:
		return v4AlwaysAsk
	case policy.TickForever:
		return v4Forever
	}
	return min(v4Deadline(v.Drop>>4)+1, v4Forever-1)
}

func (d v4Deadline) answer(now policy.Tick) Answer {
	switch {
	case d == 0:
		return Clean
	case d == v4Forever || now < policy.Tick(d-1)<<4:
		return Drop
	}
	return Ask
}

// v4Entry is one prefix of a leaf, or a whole leaf.
type v4Entry uint64

func v4EntryOf(lo, shift uint8, d v4Deadline) v4Entry {
	return v4Entry(lo) | v4Entry(shift)<<v4PrefixShift | v4Entry(d)<<v4DeadlineShift
}

func (e v4Entry) lo() uint8            { return uint8(e) }
func (e v4Entry) shift() uint8         { return uint8(e >> v4PrefixShift & v4ShiftMask) }
func (e v4Entry) deadline() v4Deadline { return v4Deadline(e>>v4DeadlineShift) & v4Forever }
func (e v4Entry) line() uint32         { return uint32(e>>v4LineShift) & v4LineMask }

// covers tells whether e's prefix has lo in it.
func (e v4Entry) covers(lo uint8) bool { return (lo^e.lo())>>e.shift() == 0 }

// V4 is a generation of the IPv4 index and its only writer. It is not safe for
// concurrent use, but the program may read all the time.
type V4 struct {
	book  Book
	words []uint64
	used  uint32 // lines
	// What Build has set aside, so that nodes are close to each other and
	// leaves without gaps. Updates use it up, and then take from the end.
	nodes, nodesEnd uint32 // lines
	runs, runsEnd   uint32 // words
	region          v4Region
}

// Lines returns how many lines of the generation are used, and how many it has.
func (x *V4) Lines() (used, capacity uint32) {
	return x.used, uint32(len(x.words) / lineWords)
}

// Lookup answers as the program does for source a, an IPv4 address, at tick now.
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
	if leaf.shift() == v4Page {
		return v4Deadline(x.load(leaf.line()*lineWords+uint32(lo)/2) >> (32 * (lo & 1)))
	}
	var latest v4Deadline
	if leaf.covers(lo) {
		latest = leaf.deadline()
	}
	if leaf&v4More == 0 {
		return latest
	}
	for i := range uint32(lineWords) {
		if e := v4Entry(x.load(leaf.line()*lineWords + i)); e.covers(lo) {
			latest = max(latest, e.deadline())
		}
	}
	return latest
}

func (x *V4) load(word uint32) uint64 { return atomic.LoadUint64(&x.words[word]) }

func (x *V4) store(word uint32, v uint64) { atomic.StoreUint64(&x.words[word], v) }

// root returns the root slot of a /16.
func (x *V4) root(hi uint32) uint32 {
	return uint32(x.load(v4RootLine*lineWords+hi/2) >> (32 * (hi & 1)))
}

// setRoot publishes the root slot of a /16. Its neighbour in the same word has
// no other writer.
func (x *V4) setRoot(hi, v uint32) {
	word := v4RootLine*lineWords + hi/2
	shift := 32 * (hi & 1)
	x.store(word, x.load(word)&^(0xffffffff<<shift)|uint64(v)<<shift)
}

// v4Node is the line of a /16.
type v4Node []uint64

func (x *V4) node(line uint32) v4Node {
	return v4Node(x.words[line*lineWords:][:lineWords])
}

// find returns the word that the leaf of a /24 is in.
func (n v4Node) find(at uint8) (word uint32, ok bool) {
	group, bit := at/64, uint64(1)<<(at%64)
	if n[group]&bit == 0 {
		return 0, false
	}
	rank := uint32(n[v4NodeRanks] >> (16 * group) & 0xffff)
	return uint32(n[v4NodeBase]) + rank + uint32(bits.OnesCount64(n[group]&(bit-1))), true
}
