package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/paraxial/paraxial/loader/banks"
)

// segmented is an array of drop counters or limits that grows. It has segments of equal size
// in an outer map, which is filled from element 0 on without gaps. Counters and limits are
// read and written without a lock.
type segmented struct {
	mu        sync.Mutex // held to add segments, while the kernel waits for readers of outer
	name      string
	outer     *ebpf.Map
	inner     *ebpf.MapSpec // of a segment
	capacity  uint32        // ids
	segments  atomic.Pointer[[]segment]
	unsettled bool // not all segments are in outer
}

type segment struct {
	m *ebpf.Map
	words
}

// newSegmented returns the array with a name. It has no segments, and none can be added
// before settle.
func newSegmented(name string, spec *ebpf.CollectionSpec) *segmented {
	outer := spec.Maps[name]
	// The blocks of both families, and id 0, which is not used.
	wanted := uint64(spec.Maps[plainMapBlockV4].MaxEntries) + uint64(spec.Maps[plainMapBlockV6].MaxEntries) + 1
	most := uint64(outer.MaxEntries) * uint64(outer.InnerMap.MaxEntries)
	a := &segmented{name: name, inner: outer.InnerMap, capacity: uint32(min(wanted, most))}
	a.segments.Store(new([]segment))
	return a
}

func (a *segmented) all() []segment { return *a.segments.Load() }

// has tells whether all ids below the number have memory.
func (a *segmented) has(ids uint32) bool {
	return uint64(len(a.all()))*uint64(a.inner.MaxEntries) >= uint64(ids)
}

// at returns the memory that has id, and the first word of id in it.
func (a *segmented) at(id uint32) (w words, i uint32, ok bool) {
	all := a.all()
	n := id / a.inner.MaxEntries
	if uint64(n) >= uint64(len(all)) {
		return words{}, 0, false
	}
	return all[n].words, id % a.inner.MaxEntries * (a.inner.ValueSize / 8), true
}

// growSegments adds segments until all ids below the number have memory, and pins
// them. The error is a *FullError for a number above the capacity.
func (l *Loader) growSegments(a *segmented, ids uint32) error {
	if ids > a.capacity {
		return &FullError{Map: a.name, Capacity: a.capacity}
	}
	if a.has(ids) {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	fresh, err := a.makeSegments(ids)
	if err != nil {
		return err
	}
	// Attest looks for the pin of each segment that is in the list. After an error
	// Attach pins it.
	all := slices.Concat(a.all(), fresh)
	err = pinSegments(all, a.name, l.gen)
	a.segments.Store(&all)
	if errors.Is(err, fs.ErrNotExist) {
		// Attest reports this and Attach repairs it: a block does not wait for that.
		l.log.Warn("the directory for pins is gone: a new segment of a map is not pinned yet",
			"map", a.name, "error", err)
		return nil
	}
	return err
}

// makeSegments makes the segments that are missing for this many ids, and puts them
// into the outer map.
func (a *segmented) makeSegments(ids uint32) ([]segment, error) {
	have := len(a.all())
	need := (int(ids) + int(a.inner.MaxEntries) - 1) / int(a.inner.MaxEntries)
	var fresh []segment
	for n := have; n < need; n++ {
		s, err := a.makeSegment(n)
		if err != nil {
			return nil, errors.Join(err, closeSegments(fresh))
		}
		fresh = append(fresh, s)
	}
	if err := a.putElements(have, fresh); err != nil {
		return nil, errors.Join(err, closeSegments(fresh))
	}
	return fresh, nil
}

func (a *segmented) makeSegment(n int) (segment, error) {
	spec := a.inner.Copy()
	spec.Name = segmentName(a.name, n)
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return segment{}, fmt.Errorf("make map %s: %w", spec.Name, err)
	}
	return mapSegment(m)
}

func mapSegment(m *ebpf.Map) (segment, error) {
	w, err := mapWords(m)
	if err != nil {
		return segment{}, errors.Join(err, m.Close())
	}
	return segment{m, w}, nil
}

// putElements writes segments to the outer map, from element first on.
func (a *segmented) putElements(first int, segments []segment) error {
	maps := make([]*ebpf.Map, len(segments))
	for i, s := range segments {
		maps[i] = s.m
	}
	if err := banks.Put(a.outer, first, maps); err != nil {
		return fmt.Errorf("put segments into map %s: %w", a.name, err)
	}
	return nil
}

// takeOver opens the segments of an outer map of g by their pins in g. A segment whose pin
// is missing is replaced by an empty one: there was a crash before it was pinned, or
// somebody has removed the pin.
func (a *segmented) takeOver(g generation, outer *ebpf.Map, log *slog.Logger) error {
	var all []segment
	for n := range int(outer.MaxEntries()) {
		var id uint32
		err := outer.Lookup(uint32(n), &id)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			break
		}
		if err != nil {
			return errors.Join(fmt.Errorf("read map %s: %w", a.name, err), closeSegments(all))
		}
		s, err := a.openSegment(g, n, ebpf.MapID(id))
		if errors.Is(err, fs.ErrNotExist) {
			log.Warn("a segment is not pinned; its contents start over",
				"map", a.name, "generation", g.String(), "segment", n)
			s, err = a.makeSegment(n)
			a.unsettled = true
		}
		if err != nil {
			return errors.Join(err, closeSegments(all))
		}
		all = append(all, s)
	}
	a.segments.Store(&all)
	return nil
}

// settle makes outer the map of the segments. Unless it is new, it has the segments that
// were taken over already.
func (a *segmented) settle(outer *ebpf.Map, isNew bool) error {
	a.outer = outer
	all := a.all()
	if len(all) == 0 || !isNew && !a.unsettled {
		return nil
	}
	if len(all) > int(outer.MaxEntries()) {
		return fmt.Errorf("map %s has room for %d segments, but there are %d", a.name, outer.MaxEntries(), len(all))
	}
	a.unsettled = false
	return a.putElements(0, all)
}

// openSegment opens the pin of a segment, which must have the given id.
func (a *segmented) openSegment(g generation, n int, id ebpf.MapID) (segment, error) {
	m, err := ebpf.LoadPinnedMap(g.segment(a.name, n), nil)
	if err != nil {
		return segment{}, fmt.Errorf("segment %d of map %s: %w", n, a.name, err)
	}
	if err := a.inner.Compatible(m); err != nil {
		return segment{}, errors.Join(fmt.Errorf("segment %d of map %s: %w", n, a.name, err), m.Close())
	}
	pinned, err := mapID(m)
	if err != nil {
		return segment{}, errors.Join(err, m.Close())
	}
	if pinned != id {
		err := fmt.Errorf("segment %d of map %s: map %d is pinned, but %d is in use", n, a.name, pinned, id)
		return segment{}, errors.Join(err, m.Close())
	}
	return mapSegment(m)
}

// pin pins the segments that are not pinned in g.
func (a *segmented) pin(g generation) error { return pinSegments(a.all(), a.name, g) }

func pinSegments(all []segment, array string, g generation) error {
	for n, s := range all {
		if err := pinCopy(s.m, g.segment(array, n)); err != nil {
			return fmt.Errorf("pin segment %d of map %s in %s: %w", n, array, g, err)
		}
	}
	return nil
}

func (a *segmented) close() error {
	if a == nil {
		return nil
	}
	return closeSegments(a.all())
}

func closeSegments(segments []segment) error {
	var errs []error
	for _, s := range segments {
		errs = append(errs, s.m.Close())
	}
	return errors.Join(errs...)
}

// segmentName returns the name under which a segment is pinned. A later process finds it by
// its pin, because opening it by the id in the outer map needs CAP_SYS_ADMIN.
func segmentName(array string, n int) string { return array + "_" + strconv.Itoa(n) }

func (g generation) segment(array string, n int) string {
	return filepath.Join(g.path, segmentName(array, n))
}
