package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/policy"
)

// tables are the maps of a filter, full, and the programs over them.
type tables struct {
	book  *policy.Book
	index *ebpf.Collection // as shipped
	lpm   *ebpf.Collection // the same program and tries without an index: every packet searches the tries
	floor *ebpf.Collection
}

// shared are the maps that all the programs use.
var shared = []string{
	shippedMapBlockV4, shippedMapBlockV6, shippedMapAllowV4, shippedMapAllowV6, shippedMapHits,
	shippedMapSourcesV4, shippedMapSourcesV6,
}

// tuning holds the settings that the measurement on a wire needs in the programs.
type tuning struct {
	headerSum uint32      // of the frames to send; see sendTemplate
	floor     floorReason // the floor's verdict on every packet
}

// newTables loads the programs and fills their maps with blocks of all prefixes that end at the
// deadline.
func newTables(prefixes []netip.Prefix, deadline policy.Deadline, tune tuning) (t *tables, err error) {
	t = &tables{book: bookOf(prefixes, deadline)}
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	spec, err := loadShipped()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{shippedMapBlockV4, shippedMapBlockV6} {
		spec.Maps[name].MaxEntries = uint32(len(prefixes))
	}
	if err := spec.Variables[shippedVarHeaderSum].Set(tune.headerSum); err != nil {
		return nil, fmt.Errorf("set the checksum of headers: %w", err)
	}
	if t.index, err = ebpf.NewCollection(spec); err != nil {
		return nil, fmt.Errorf("load the filter: %w", err)
	}
	if t.lpm, err = t.beside(spec, shared); err != nil {
		return nil, fmt.Errorf("load the filter without index: %w", err)
	}
	if t.floor, err = t.loadFloor(tune.floor); err != nil {
		return nil, fmt.Errorf("load the floor: %w", err)
	}
	if err := t.fillTries(); err != nil {
		return nil, err
	}
	if err := t.fillHits(spec.Maps[shippedMapHits].InnerMap, len(prefixes)); err != nil {
		return nil, err
	}
	return t, t.fillIndex(spec)
}

func bookOf(prefixes []netip.Prefix, deadline policy.Deadline) *policy.Book {
	book := policy.NewBook(uint32(len(prefixes)) + 1)
	for _, p := range prefixes {
		book.Load(policy.Entry{Prefix: p, Kind: policy.Block, Action: policy.Drop, Origin: "bench", Deadline: deadline})
	}
	book.Adopt(func(func(policy.Node) bool) {}, func(func(policy.HeldLimit) bool) {}) // there is no running filter
	for range book.Compile(policy.Block) {
		continue // the tries are filled from the book later
	}
	return book
}

// beside loads programs that share the named maps of the first collection.
func (t *tables) beside(spec *ebpf.CollectionSpec, names []string) (*ebpf.Collection, error) {
	over := make(map[string]*ebpf.Map)
	for _, name := range names {
		over[name] = t.index.Maps[name]
	}
	return ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: over})
}

func (t *tables) loadFloor(verdict floorReason) (*ebpf.Collection, error) {
	spec, err := loadFloor()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables[floorVarFloorReason].Set(uint32(verdict)); err != nil {
		return nil, fmt.Errorf("set the verdict: %w", err)
	}
	return t.beside(spec, []string{shippedMapSourcesV4, shippedMapSourcesV6})
}

// Close frees the maps.
func (t *tables) Close() {
	for _, c := range []*ebpf.Collection{t.index, t.lpm, t.floor} {
		if c != nil {
			c.Close()
		}
	}
}

func (t *tables) fillTries() error {
	var keys4 []shippedLpmV4
	var keys6 []shippedLpmV6
	var values4, values6 []shippedVerdict
	for n := range t.book.Nodes(policy.Block) {
		v := shippedVerdict{DropUntil: uint32(n.Verdict.Drop), HitId: n.Verdict.HitID}
		bits, a := uint32(n.Prefix.Bits()), n.Prefix.Addr()
		if a.Is4() {
			keys4 = append(keys4, shippedLpmV4{Prefixlen: bits, Addr: network(a)})
			values4 = append(values4, v)
		} else {
			keys6 = append(keys6, shippedLpmV6{Prefixlen: bits, Addr: a.As16()})
			values6 = append(values6, v)
		}
	}
	return errors.Join(
		fillMap(t.index.Maps[shippedMapBlockV4], keys4, values4),
		fillMap(t.index.Maps[shippedMapBlockV6], keys6, values6),
	)
}

// network returns an IPv4 address in network byte order, as the kernel stores it.
func network(a netip.Addr) uint32 {
	b := a.As4()
	return binary.NativeEndian.Uint32(b[:])
}

// fillMap retries if the kernel is short of memory for a moment: tries allocate without sleeping.
func fillMap[K, V any](m *ebpf.Map, keys []K, values []V) error {
	const (
		batch = 4096
		tries = 100
	)
	for low := 0; low < len(keys); low += batch {
		high := min(low+batch, len(keys))
		for try := 1; ; try++ {
			_, err := m.BatchUpdate(keys[low:high], values[low:high], nil)
			if err == nil {
				break
			}
			if try == tries || !errors.Is(err, unix.ENOMEM) {
				return fmt.Errorf("fill %s: %w", m, err)
			}
		}
	}
	return nil
}

// fillHits makes the segments of drop counters that n entries need.
func (t *tables) fillHits(segment *ebpf.MapSpec, n int) error {
	for i := uint32(0); i <= uint32(n)/segment.MaxEntries; i++ {
		if err := putInner(t.index.Maps[shippedMapHits], i, segment); err != nil {
			return err
		}
	}
	return nil
}

func putInner(outer *ebpf.Map, at uint32, spec *ebpf.MapSpec) error {
	inner, err := ebpf.NewMap(spec)
	if err != nil {
		return fmt.Errorf("make a map of %s: %w", outer, err)
	}
	defer inner.Close()
	if err := outer.Put(at, inner); err != nil {
		return fmt.Errorf("put a map into %s: %w", outer, err)
	}
	return nil
}

// setSources sets the source addresses of the traffic.
func (t *tables) setSources(addrs []netip.Addr) error {
	if addrs[0].Is4() {
		lines := make([]shippedSourcesV4, len(addrs)/16)
		for i, a := range addrs {
			lines[i/16].Addr[i%16] = network(a)
		}
		return fillMap(t.index.Maps[shippedMapSourcesV4], numbers(len(lines)), lines)
	}
	lines := make([]shippedSourcesV6, len(addrs)/4)
	for i, a := range addrs {
		lines[i/4].Addr[i%4].In6U.U6Addr8 = a.As16()
	}
	return fillMap(t.index.Maps[shippedMapSourcesV6], numbers(len(lines)), lines)
}

// numbers returns the keys of an array of n elements.
func numbers(n int) []uint32 {
	keys := make([]uint32, n)
	for i := range keys {
		keys[i] = uint32(i)
	}
	return keys
}
