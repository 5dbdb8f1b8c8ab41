package track

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"unsafe"
)

// ErrFull is the error for a table without room for another source.
var ErrFull = errors.New("the table of tracked sources is full")

// reuseAfter is the number of slots that are released before the first of them is reused.
// A packet that is just being counted in a slot that is reused at once would count for the
// wrong source.
const reuseAfter = 64

// Table writes the memory. It is not safe for concurrent use. The program may read the
// memory at any time.
type Table struct {
	geometry
	control *Control
	index   []uint32
	slots   []slot
	ports   []uint16

	levels []Level
	tags   []uint32 // tag of the key in each slot; 0 is not in use
	next   uint32   // slots from this one on were never used
	free   []uint32 // free slots before next, the one released first comes first
	used   int

	singles Level // number of tracked single addresses
}

// New returns a table in the given memory: a Control, and Lines(capacity) lines of LineSize
// bytes. The table is inactive until Configure.
func New(control, lines []byte, capacity uint32) (*Table, error) {
	g := geometryOf(capacity)
	if capacity == 0 || capacity > MaxCapacity {
		return nil, fmt.Errorf("track %d sources: want 1 to %d", capacity, MaxCapacity)
	}
	if len(control) < int(unsafe.Sizeof(Control{})) || uint64(len(lines)) < uint64(g.lines)*LineSize {
		return nil, fmt.Errorf("track %d sources: %d and %d bytes of memory are too few",
			capacity, len(control), len(lines))
	}
	t := &Table{
		geometry: g,
		control:  &view[Control](control, 1)[0],
		index:    view[uint32](lines, int(g.slots)*LineSize/4),
		slots:    view[slot](lines[g.slots*LineSize:], int(capacity)),
		ports:    view[uint16](lines[g.ports*LineSize:], 1<<16),
		tags:     make([]uint32, capacity),
	}
	t.Stop()
	return t, nil
}

// Stop ends accounting. Before Configure, the caller must wait until no program runs that
// saw accounting active.
func (t *Table) Stop() { store(&t.control.Active, 0) }

// Configure starts accounting with levels and classes and without tracked sources. No
// program may read the memory meanwhile: see Stop.
func (t *Table) Configure(levels []Level, classes []Class) error {
	if err := Check(levels, classes); err != nil {
		return err
	}
	c := t.control
	c.Home, c.Second, c.Seed = rand.Uint64()|1, rand.Uint64()|1, rand.Uint64()
	for i := range c.NH {
		c.NH[i] = rand.Uint32()
	}
	c.Levels = [Levels]LevelMask{}
	for i, l := range levels {
		c.Levels[i] = l.mask()
	}
	compiled := Compile(classes)
	compiled.write(c, t.ports)
	c.Slots, c.Ports, c.Groups = t.geometry.slots, t.geometry.ports, leastGroups-1
	t.levels = levels
	t.forget()
	store(&c.Active, 1)
	return nil
}

// Check returns an error if the levels or classes are not valid.
func Check(levels []Level, classes []Class) error {
	if len(levels) == 0 || len(levels) > Levels || len(classes) > Detectors {
		return fmt.Errorf("%d levels and %d classes: want 1 to %d levels, and at most %d classes",
			len(levels), len(classes), Levels, Detectors)
	}
	for _, l := range levels {
		if err := l.check(); err != nil {
			return err
		}
	}
	for i, c := range classes {
		if err := c.check(len(levels)); err != nil {
			return fmt.Errorf("class %d: %w", i, err)
		}
	}
	return nil
}

func (l Level) mask() LevelMask {
	ones := [16]byte(bytes.Repeat([]byte{0xff}, 16))
	k4 := keyOf(0, netip.PrefixFrom(netip.AddrFrom4([4]byte(ones[:4])), l.IPv4))
	k6 := keyOf(0, netip.PrefixFrom(netip.AddrFrom16(ones), l.IPv6))
	return LevelMask{High: k6.high, Low: k6.low, IPv4: uint32(k4.low)}
}

func (t *Table) forget() {
	clear(t.index)
	clear(t.tags)
	t.next, t.free, t.used = 0, nil, 0
	t.singles = Level{}
	t.noteSingles()
}

// SetSampling has the program report one in n packets, at random, or none if n is 0.
func (t *Table) SetSampling(n uint32) { atomic.StoreUint64(&t.control.Sampling, sampling(n)) }

// Lost returns the number of samples that found no room, from the memory of a Control.
func Lost(control []byte) uint64 { return atomic.LoadUint64(&view[Control](control, 1)[0].Lost) }

// Used returns the number of tracked sources.
func (t *Table) Used() int { return t.used }

// Capacity returns the largest number of tracked sources.
func (t *Table) Capacity() int { return int(t.capacity) }

// Track starts to count the packets of a source and returns its slot. If the source is
// tracked already, it returns the present slot. The prefix must have the length of the
// level. At level Single it is an address inside a source of another level: its packets are
// counted, for the detectors of that level, while that source is tracked. The error is ErrFull if there is no room.
func (t *Table) Track(level int, source netip.Prefix) (uint32, error) {
	if err := t.checkSource(level, source); err != nil {
		return 0, err
	}
	k := keyOf(level, source)
	if at := t.find(k); at != nil {
		return load(at) & entrySlot, nil
	}
	id, ok := t.take()
	if !ok {
		return 0, ErrFull
	}
	t.write(id, k)
	if !t.insert(id, k) {
		t.giveBack(id)
		return 0, ErrFull
	}
	if level == Single {
		t.addSingle(source, 1)
	}
	return id, nil
}

// Untrack stops counting the packets of a source. A source that is not tracked is not an
// error.
func (t *Table) Untrack(level int, source netip.Prefix) error {
	if err := t.checkSource(level, source); err != nil {
		return err
	}
	if at := t.find(keyOf(level, source)); at != nil {
		id := load(at) & entrySlot
		store(at, load(at)&entrySpilled)
		t.giveBack(id)
		if level == Single {
			t.addSingle(source, -1)
		}
	}
	return nil
}

func (t *Table) checkSource(level int, source netip.Prefix) error {
	if level == Single {
		return t.checkSingle(source)
	}
	if level < 0 || level >= len(t.levels) {
		return fmt.Errorf("level %d: want a level below %d", level, len(t.levels))
	}
	want := t.levels[level].IPv6
	if source.Addr().Is4() {
		want = t.levels[level].IPv4
	}
	if !source.IsValid() || source.Bits() != want {
		return fmt.Errorf("source %s: want a prefix of %d bits", source, want)
	}
	return nil
}

// checkSingle returns an error for an address that cannot be tracked at level Single.
func (t *Table) checkSingle(source netip.Prefix) error {
	if !source.IsSingleIP() {
		return fmt.Errorf("source %s: want a single address", source)
	}
	if source.Addr().Is6() && keyOf(0, source).high == 0 {
		return fmt.Errorf("source %s: addresses in ::/64 cannot be tracked one by one", source)
	}
	return nil
}

// addSingle adds n to the number of single addresses in the family of a source.
func (t *Table) addSingle(source netip.Prefix, n int) {
	if source.Addr().Is4() {
		t.singles.IPv4 += n
	} else {
		t.singles.IPv6 += n
	}
	t.noteSingles()
}

// noteSingles has the program look for single addresses only while some are tracked, and
// count them only for the levels that are wider.
func (t *Table) noteSingles() {
	var ipv4, ipv6 uint32
	for i, l := range t.levels {
		if t.singles.IPv4 > 0 && l.IPv4 < 32 {
			ipv4 |= t.control.Levels[i].Detectors
		}
		if t.singles.IPv6 > 0 && l.IPv6 < 128 {
			ipv6 |= t.control.Levels[i].Detectors
		}
	}
	store(&t.control.SingleIPv4, ipv4)
	store(&t.control.SingleIPv6, ipv6)
}

// take returns a free slot.
func (t *Table) take() (uint32, bool) {
	if t.next < t.capacity && len(t.free) < reuseAfter {
		t.next++
		t.used++
		return t.next - 1, true
	}
	if len(t.free) == 0 {
		return 0, false
	}
	id := t.free[0]
	t.free = t.free[1:]
	t.used++
	return id, true
}

func (t *Table) giveBack(id uint32) {
	t.tags[id] = 0
	t.free = append(t.free, id)
	t.used--
}

// write fills a slot to which no entry refers.
func (t *Table) write(id uint32, k key) {
	s := &t.slots[id]
	atomic.StoreUint64(&s.high, k.high)
	atomic.StoreUint64(&s.low, k.low)
	for i := range s.counters {
		store(&s.counters[i], 0)
	}
	t.tags[id] = k.tag
}

func (t *Table) keyIn(id uint32) key {
	return key{high: t.slots[id].high, low: t.slots[id].low, tag: t.tags[id]}
}

// Counts calls f for every tracked source. There is a counter for each class, in their
// order. Counters start at 0 and overflow to 0. The function f must not keep them, and must
// not call Track or Untrack.
func (t *Table) Counts(f func(slot uint32, level int, source netip.Prefix, counters *[Detectors]uint32)) {
	var counters [Detectors]uint32
	for id := range t.next {
		if t.tags[id] == 0 {
			continue
		}
		for i := range counters {
			counters[i] = load(&t.slots[id].counters[i])
		}
		level, source := t.source(id)
		f(id, level, source, &counters)
	}
}

func (t *Table) source(id uint32) (level int, source netip.Prefix) {
	k := t.keyIn(id)
	if k.single() {
		return Single, netip.PrefixFrom(k.addr(), k.addr().BitLen())
	}
	level = int(k.tag >> levelShift & 1)
	bits := t.levels[level].IPv6
	if k.tag&entryIPv6 == 0 {
		bits = t.levels[level].IPv4
	}
	return level, netip.PrefixFrom(k.addr(), bits)
}
