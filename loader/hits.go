package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// hitsPrefix begins the names under which the segments are pinned. Pins are
// how a later process finds them: to open one by the id that the outer map
// gives takes CAP_SYS_ADMIN.
const hitsPrefix = plainMapHits + "_"

// hitCounters are the drop counters: segments of equal size in an outer map,
// filled from slot 0 on without a hole. Counts are read and written without a
// lock; whoever adds segments keeps others from it.
type hitCounters struct {
	outer    *ebpf.Map
	inner    *ebpf.MapSpec // of a segment
	capacity uint32        // ids
	segments atomic.Pointer[[]hitSegment]
}

type hitSegment struct {
	m *ebpf.Map
	words
}

// newHitCounters returns counters over outer. It has no segments yet.
func newHitCounters(outer *ebpf.Map, spec *ebpf.CollectionSpec) *hitCounters {
	inner := spec.Maps[plainMapHits].InnerMap
	// The blocks of both families, and id 0, which counts for nobody.
	wanted := uint64(spec.Maps[plainMapBlockV4].MaxEntries) + uint64(spec.Maps[plainMapBlockV6].MaxEntries) + 1
	most := uint64(outer.MaxEntries()) * uint64(inner.MaxEntries)
	h := &hitCounters{outer: outer, inner: inner, capacity: uint32(min(wanted, most))}
	h.segments.Store(new([]hitSegment))
	return h
}

func (h *hitCounters) all() []hitSegment { return *h.segments.Load() }

// has tells whether all ids below the number have memory.
func (h *hitCounters) has(ids uint32) bool {
	return uint64(len(h.all()))*uint64(h.inner.MaxEntries) >= uint64(ids)
}

// at returns the memory that holds id, and its place there.
func (h *hitCounters) at(id uint32) (w words, i uint32, ok bool) {
	all := h.all()
	n := id / h.inner.MaxEntries
	if uint64(n) >= uint64(len(all)) {
		return words{}, 0, false
	}
	return all[n].words, id % h.inner.MaxEntries, true
}

// grow adds segments until all ids below the number have memory.
func (h *hitCounters) grow(ids uint32) error {
	have := h.all()
	need := (int(ids) + int(h.inner.MaxEntries) - 1) / int(h.inner.MaxEntries)
	var fresh []hitSegment
	for n := len(have); n < need; n++ {
		s, err := h.makeSegment(n)
		if err != nil {
			return errors.Join(err, closeSegments(fresh))
		}
		fresh = append(fresh, s)
	}
	if err := h.putSlots(len(have), fresh); err != nil {
		return errors.Join(err, closeSegments(fresh))
	}
	all := slices.Concat(have, fresh)
	h.segments.Store(&all)
	return nil
}

func (h *hitCounters) makeSegment(n int) (hitSegment, error) {
	spec := h.inner.Copy()
	spec.Name = hitsPrefix + strconv.Itoa(n)
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return hitSegment{}, fmt.Errorf("make map %s: %w", spec.Name, err)
	}
	return mapSegment(m)
}

func mapSegment(m *ebpf.Map) (hitSegment, error) {
	w, err := mapWords(m)
	if err != nil {
		return hitSegment{}, errors.Join(err, m.Close())
	}
	return hitSegment{m, w}, nil
}

// putSlots writes segments to the outer map, from slot first on. Every write
// of its own waits until no program uses what was there, a batch waits once;
// outer maps have had batches since Linux 5.19.
func (h *hitCounters) putSlots(first int, segments []hitSegment) error {
	slots, fds := make([]uint32, len(segments)), make([]uint32, len(segments))
	for i, s := range segments {
		slots[i], fds[i] = uint32(first+i), uint32(s.m.FD())
	}
	if len(slots) > 1 {
		if n, err := h.outer.BatchUpdate(slots, fds, nil); err == nil && n == len(slots) {
			return nil
		}
	}
	for i, slot := range slots {
		if err := h.outer.Put(slot, fds[i]); err != nil {
			return fmt.Errorf("put segment %d into map %s: %w", slot, plainMapHits, err)
		}
	}
	return nil
}

// takeOver opens the segments that the outer map holds by their pins in g. One
// whose pin is missing is replaced by an empty one: a crash has come between
// making and pinning it, or somebody has removed the pin.
func (h *hitCounters) takeOver(g generation, log *slog.Logger) error {
	var all []hitSegment
	for n := range int(h.outer.MaxEntries()) {
		var id uint32
		err := h.outer.Lookup(uint32(n), &id)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			break
		}
		if err != nil {
			return errors.Join(fmt.Errorf("read map %s: %w", plainMapHits, err), closeSegments(all))
		}
		s, err := h.openSegment(g, n, ebpf.MapID(id))
		if errors.Is(err, fs.ErrNotExist) {
			log.Warn("a segment of drop counters is not pinned; its counts start over", "generation", g.String(), "segment", n)
			s, err = h.replaceSegment(n)
		}
		if err != nil {
			return errors.Join(err, closeSegments(all))
		}
		all = append(all, s)
	}
	h.segments.Store(&all)
	return nil
}

// openSegment opens the pin of a segment, which must have the given id.
func (h *hitCounters) openSegment(g generation, n int, id ebpf.MapID) (hitSegment, error) {
	m, err := ebpf.LoadPinnedMap(g.hits(n), nil)
	if err != nil {
		return hitSegment{}, fmt.Errorf("segment %d of map %s: %w", n, plainMapHits, err)
	}
	if err := h.inner.Compatible(m); err != nil {
		return hitSegment{}, errors.Join(fmt.Errorf("segment %d of map %s: %w", n, plainMapHits, err), m.Close())
	}
	pinned, err := mapID(m)
	if err != nil {
		return hitSegment{}, errors.Join(err, m.Close())
	}
	if pinned != id {
		err := fmt.Errorf("segment %d of map %s: map %d is pinned, but %d is in use", n, plainMapHits, pinned, id)
		return hitSegment{}, errors.Join(err, m.Close())
	}
	return mapSegment(m)
}

func (h *hitCounters) replaceSegment(n int) (hitSegment, error) {
	s, err := h.makeSegment(n)
	if err != nil {
		return hitSegment{}, err
	}
	if err := h.putSlots(n, []hitSegment{s}); err != nil {
		return hitSegment{}, errors.Join(err, s.m.Close())
	}
	return s, nil
}

// pin pins the segments that are not pinned in g.
func (h *hitCounters) pin(g generation) error {
	for n, s := range h.all() {
		if err := pinCopy(s.m, g.hits(n)); err != nil {
			return fmt.Errorf("pin segment %d of map %s in %s: %w", n, plainMapHits, g, err)
		}
	}
	return nil
}

func (h *hitCounters) close() error {
	if h == nil {
		return nil
	}
	return closeSegments(h.all())
}

func closeSegments(segments []hitSegment) error {
	var errs []error
	for _, s := range segments {
		errs = append(errs, s.m.Close())
	}
	return errors.Join(errs...)
}

// hits returns the path of a segment of the drop counters.
func (g generation) hits(n int) string {
	return filepath.Join(g.path, hitsPrefix+strconv.Itoa(n))
}

// HitCapacity returns how many hit ids there can be: valid ones are below it,
// and 0 is nobody's.
func (l *Loader) HitCapacity() uint32 { return l.hits.capacity }

// GrowHits makes sure that all ids below the number have memory, of which
// there is 512 KiB for every 65,536 of them. Call it before the first of them
// is handed out: the program counts nothing for an id without memory. Where
// memory has to be added it takes up to some 40 ms. The error is a *FullError
// for a number above HitCapacity.
func (l *Loader) GrowHits(ids uint32) error {
	if ids > l.hits.capacity {
		return fmt.Errorf("add drop counters: %w", &FullError{Map: plainMapHits, Capacity: l.hits.capacity})
	}
	if l.hits.has(ids) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.growHits(ids); err != nil {
		return fmt.Errorf("add drop counters: %w", explain(err))
	}
	return nil
}

// growHits leaves the pins of what it has added to the next call or Attach if
// it fails to make them.
func (l *Loader) growHits(ids uint32) error {
	if err := l.hits.grow(ids); err != nil {
		return err
	}
	return l.hits.pin(l.gen)
}

// Hits returns how many packets id has dropped or, for shadow, would have. It
// is 0 for an id without memory.
func (l *Loader) Hits(id uint32) uint64 {
	w, i, ok := l.hits.at(id)
	if !ok {
		return 0
	}
	return w.load(i)
}

// ClearHits sets the count of id to zero. Do so before the id is handed out.
func (l *Loader) ClearHits(id uint32) {
	if w, i, ok := l.hits.at(id); ok {
		w.store(i, 0)
	}
}
