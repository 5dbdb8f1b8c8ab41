package index

import (
	"math/bits"
	"net/netip"
)

const (
	// v4Widest is the length of the shortest prefix that Update accepts.
	v4Widest = 8

	// v4Inline is the number of entries in the line of a leaf.
	v4Inline = lineHalfs
)

// Update brings the answers for all sources in p, an IPv4 prefix, up to date with the book.
// Call it after a change of the node of p, when the tries have that change. A reader sees the
// old or the new answer, never a mix. Update returns false if a new generation must be
// built, because there is no room or p is shorter than /8.
func (x *V4) Update(p netip.Prefix) bool {
	if p.Bits() < v4Widest {
		return false
	}
	p = x.Region(p)
	if p.Bits() > 16 {
		x.region.gather(x.book, p)
		return x.write()
	}
	first := v4Addr(p) >> 16
	for hi := first; hi < first+1<<(16-p.Bits()); hi++ {
		x.region.gather(x.book, netip.PrefixFrom(v4AddrOf(hi<<16), 16))
		if !x.write() {
			return false
		}
	}
	return true
}

// Region returns what Update(p) brings up to date: p, or the /24 that p is in.
func (x *V4) Region(p netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(p.Addr(), min(p.Bits(), 24)).Masked()
}

// write writes the region to the index. It returns false if there is no room.
func (x *V4) write() bool {
	r := &x.region
	if d, ok := r.uniform(); ok {
		x.setRoot(r.hi, v4Uniform|uint32(d))
		return true
	}
	var leaves [256]v4Entry
	x.leaves(r.hi, &leaves)
	before := leaves
	for at := r.from; at < r.to; at++ {
		var ok bool
		if leaves[at], ok = x.leaf(r.of(at), leaves[at]); !ok {
			return false
		}
	}
	if leaves == before {
		return true
	}
	if leaves == [256]v4Entry{} {
		x.setRoot(r.hi, 0)
		return true
	}
	return x.writeInPlace(r, &leaves) || x.writeNode(r.hi, &leaves)
}

// leaves reads the leaves of a /16.
func (x *V4) leaves(hi uint32, leaves *[256]v4Entry) {
	root := x.root(hi)
	switch {
	case root == 0:
	case root&v4Uniform != 0:
		for i := range leaves {
			leaves[i] = v4EntryOf(0, v4Whole, v4Deadline(root)&v4Forever)
		}
	default:
		n := x.node(root)
		at := n.first()
		for quarter, present := range n.present {
			for ; present != 0; present &= present - 1 {
				leaves[quarter*64+bits.TrailingZeros64(present)] = v4Entry(x.load(at))
				at++
			}
		}
	}
}

// writeInPlace stores the leaves of the region if all of them have a place already.
func (x *V4) writeInPlace(r *v4Region, leaves *[256]v4Entry) bool {
	root := x.root(r.hi)
	if root == 0 || root&v4Uniform != 0 {
		return false
	}
	n := x.node(root)
	for at := r.from; at < r.to; at++ {
		if _, ok := n.find(uint8(at)); !ok && leaves[at] != 0 {
			return false
		}
	}
	for at := r.from; at < r.to; at++ {
		if place, ok := n.find(uint8(at)); ok && x.load(place) != uint32(leaves[at]) {
			x.store(place, uint32(leaves[at]))
		}
	}
	return true
}

// writeNode writes a new node and a new run of leaves for a /16. It returns false if there
// is no room.
func (x *V4) writeNode(hi uint32, leaves *[256]v4Entry) bool {
	var present [4]uint64
	var ranks uint64
	count := uint32(0)
	for at, leaf := range leaves {
		if at%64 == 0 {
			ranks |= uint64(count) << (8 * (at / 64))
		}
		if leaf != 0 {
			present[at/64] |= 1 << (at % 64)
			count++
		}
	}
	run, ok := x.takeRun(count)
	if !ok {
		return false
	}
	root, ok := x.takeNode()
	if !ok {
		return false
	}
	place := run
	for _, leaf := range leaves {
		if leaf != 0 {
			x.store(place, uint32(leaf))
			place++
		}
	}
	n := x.node(root)
	copy(n.present, present[:])
	*n.leaves = ranks<<32 | uint64(run)
	x.setRoot(hi, root)
	return true
}

// leaf returns a leaf with the entries. That is old if it has the same ones. It returns false
// if there is no room for the lines that it needs.
func (x *V4) leaf(entries []v4Entry, old v4Entry) (v4Entry, bool) {
	switch {
	case len(entries) == 0:
		return 0, true
	case len(entries) == 1:
		return entries[0], true
	case len(entries) > v4Inline:
		return x.page(entries, old)
	case x.holds(old, entries):
		return old, true
	}
	line, ok := x.takeLines(1)
	if !ok {
		return 0, false
	}
	for i, e := range entries {
		x.store(line*lineHalfs+uint32(i), uint32(e))
	}
	return v4More | v4Entry(line), true
}

// holds tells whether a leaf has a line with exactly these entries.
func (x *V4) holds(leaf v4Entry, entries []v4Entry) bool {
	if leaf&v4More == 0 || leaf.isPage() {
		return false
	}
	for i := range lineHalfs {
		var want v4Entry
		if i < len(entries) {
			want = entries[i]
		}
		if v4Entry(x.load(leaf.line()*lineHalfs+uint32(i))) != want {
			return false
		}
	}
	return true
}

// page returns a leaf with the deadline of each address. If the /24 has a page, it is changed
// in place, address by address.
func (x *V4) page(entries []v4Entry, old v4Entry) (v4Entry, bool) {
	var deadlines [256]v4Deadline
	for _, e := range entries {
		for lo := int(e.lo()); lo < int(e.lo())+1<<e.shift(); lo++ {
			deadlines[lo] = max(deadlines[lo], e.deadline())
		}
	}
	leaf := old
	if old&v4More == 0 || !old.isPage() {
		line, ok := x.takeLines(v4PageLines)
		if !ok {
			return 0, false
		}
		leaf = v4More | v4Page | v4Entry(line)
	}
	first := leaf.line() * lineHalfs
	for i, d := range deadlines {
		if x.load(first+uint32(i)) != uint32(d) {
			x.store(first+uint32(i), uint32(d))
		}
	}
	return leaf, true
}

func (x *V4) takeLines(n uint32) (line uint32, ok bool) {
	line = x.used
	if uint32(len(x.words)/lineWords)-line < n {
		return 0, false
	}
	x.used += n
	return line, true
}

// takeNode returns the root word for a node that was never used.
func (x *V4) takeNode() (root uint32, ok bool) {
	if x.nodes == v4Group {
		line, ok := x.takeGroup()
		if !ok {
			return 0, false
		}
		x.group, x.nodes = line, 0
	}
	x.nodes++
	return x.group*v4Group + x.nodes - 1, true
}

func (x *V4) takeGroup() (line uint32, ok bool) {
	if x.groups == x.groupsEnd {
		return x.takeLines(v4GroupLines)
	}
	x.groups += v4GroupLines
	return x.groups - v4GroupLines, true
}

// takeRun returns the place of the first of n leaves. The next run uses the rest of the last
// line if it fits.
func (x *V4) takeRun(n uint32) (place uint32, ok bool) {
	if x.runsEnd-x.runs < n {
		line, ok := x.takeLines(v4Lines(n))
		if !ok {
			return 0, false
		}
		x.runs, x.runsEnd = line*lineHalfs, x.used*lineHalfs
	}
	x.runs += n
	return x.runs - n, true
}
