// Package track has the table of sources that are counted exactly, and the classes of
// packets that are counted: the layout of the memory that the packet program reads (see
// bpf/track_maps.h) and its only writer. Like package index, it works on memory that is
// passed to it and does not use the kernel.
package track

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"unsafe"
)

// Limits of the layout.
const (
	Detectors = 12 // DETECTORS in bpf/track_maps.h
	Levels    = 2  // TRACK_LEVELS
	// Single is the level of single addresses inside a source of another level.
	Single      = Levels
	MaxCapacity = 1 << 17 // the number of a slot has 17 bits
	LineSize    = 64
)

const (
	groupSize   = 4 // entries
	leastGroups = 256
	portLines   = 1 << 16 * 2 / LineSize
)

// The bits of an entry of the index.
const (
	entrySpilled = 1 << 31
	entryUsed    = 1 << 30
	entryIPv6    = 1 << 29
	levelShift   = 28
	hashShift    = 17
	hashBits     = 11
	entryTag     = 1<<31 - 1<<hashShift
	entrySlot    = 1<<hashShift - 1
)

// Control is struct track_control.
type Control struct {
	Active   uint32
	Groups   uint32
	Sampling uint64
	Seed     uint64
	Slots    uint32
	Ports    uint32
	Home     uint64
	Second   uint64
	NH       [4]uint32
	Levels   [Levels]LevelMask
	ByBytes  uint32
	ByPort   uint32
	// SingleIPv4 and SingleIPv6 are the detectors that also count single addresses.
	SingleIPv4, SingleIPv6 uint32

	Classes [256]uint16
	Lost    uint64
	_       [7]uint64
}

// LevelMask is struct track_level.
type LevelMask struct {
	High, Low uint64
	IPv4      uint32
	Detectors uint32
}

// slot is struct track_slot.
type slot struct {
	high, low uint64
	counters  [Detectors]uint32
}

// geometry has the sizes and positions in the memory. Positions are in lines.
type geometry struct {
	capacity   uint32
	mostGroups uint32
	slots      uint32
	ports      uint32
	lines      uint32
}

func geometryOf(capacity uint32) geometry {
	g := geometry{capacity: capacity, mostGroups: leastGroups}
	// At most half full, so that nearly all entries are in their first group.
	for g.mostGroups*groupSize < 2*capacity {
		g.mostGroups *= 2
	}
	g.slots = 2 * g.mostGroups * groupSize * 4 / LineSize
	g.ports = g.slots + capacity
	g.lines = g.ports + portLines
	return g
}

// Lines returns the number of lines of LineSize bytes for a table of the given capacity.
func Lines(capacity uint32) uint32 { return geometryOf(capacity).lines }

// key is a source at a level, in the form in which the program looks it up.
type key struct {
	high, low uint64
	tag       uint32 // without the bits of the hash
}

// keyOf returns the key of a prefix, which must have the length of the level.
func keyOf(level int, p netip.Prefix) key {
	if level == Single {
		return singleKey(p.Addr())
	}
	k := key{tag: entryUsed | uint32(level)<<levelShift}
	if p.Addr().Is4() {
		a := p.Masked().Addr().As4()
		k.low = uint64(binary.NativeEndian.Uint32(a[:]))
		return k
	}
	a := p.Masked().Addr().As16()
	k.high, k.low = binary.NativeEndian.Uint64(a[:8]), binary.NativeEndian.Uint64(a[8:])
	k.tag |= entryIPv6
	return k
}

// singleKey is track_single_key() in bpf/track_find.h.
func singleKey(a netip.Addr) key {
	if a.Is4() {
		k := keyOf(1, netip.PrefixFrom(a, 32))
		k.high = ^uint64(0)
		return k
	}
	k := keyOf(0, netip.PrefixFrom(a, 128))
	k.tag &^= entryIPv6
	return k
}

func (k key) single() bool { return k.tag&entryIPv6 == 0 && k.high != 0 }

func (k key) is4() bool {
	if k.single() {
		return k.tag>>levelShift&1 == 1
	}
	return k.tag&entryIPv6 == 0
}

// addr is the inverse of keyOf.
func (k key) addr() netip.Addr {
	if k.is4() {
		var a [4]byte
		binary.NativeEndian.PutUint32(a[:], uint32(k.low))
		return netip.AddrFrom4(a)
	}
	var a [16]byte
	binary.NativeEndian.PutUint64(a[:8], k.high)
	binary.NativeEndian.PutUint64(a[8:], k.low)
	return netip.AddrFrom16(a)
}

func nh(x uint64, a, b uint32) uint64 {
	return uint64(uint32(x>>32)+a) * uint64(uint32(x)+b)
}

// place is where a key is looked up: the two groups, and its tag in both.
type place struct {
	home, second uint32
	tag          uint32
}

func (c *Control) place(k key, mask uint32) place {
	mixed := k.low
	if k.tag&entryIPv6 != 0 || k.single() {
		n := nh(k.high, c.NH[0], c.NH[1]) + nh(k.low, c.NH[2], c.NH[3])
		mixed = n ^ n>>32
	}
	group := func(hash uint64) uint32 { return uint32(hash>>32)&mask + mask + 1 }
	home := mixed * c.Home
	return place{
		home: group(home), second: group(mixed * c.Second),
		tag: k.tag | uint32(home>>(64-hashBits))<<hashShift,
	}
}

// sampling returns the value of Control.Sampling for one in n packets.
func sampling(n uint32) uint64 {
	if n == 0 {
		return 0
	}
	threshold := min((uint64(1)<<32+uint64(n)/2)/uint64(n), 1<<32-1)
	return threshold<<32 | uint64(n)
}

func load(p *uint32) uint32     { return atomic.LoadUint32(p) }
func store(p *uint32, v uint32) { atomic.StoreUint32(p, v) }

// view returns the memory as n values.
func view[T any](b []byte, n int) []T {
	var zero T
	if len(b) < n*int(unsafe.Sizeof(zero)) || uintptr(unsafe.Pointer(unsafe.SliceData(b)))%8 != 0 {
		panic("memory too small, or not aligned")
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}
