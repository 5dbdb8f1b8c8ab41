package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/paraxial/paraxial/policy"
)

// A new generation takes over maps of the one in force, map by map. A map that fits the
// program is taken over, and both programs use it until the switch. A map that does not
// fit, because the version or the capacity differs, is replaced by a new one, and its
// counts continue:
//
//	counters of packets   are copied at the start, and those of an interface once more
//	                      right before its link is switched
//	counters of drops     are in segments, which fit whatever outer map holds them. The
//	                      elder tries tell which node has which counter
//	limits                are in segments too, and have their owners
//
// A map fits if it has the same shape: one whose content changes its meaning needs a new
// name.

// takeMaps takes over the maps of the generation in force that fit, and makes the others. If
// no generation is in force, it makes all.
func (l *Loader) takeMaps(inForce *generation) error {
	spec := l.specs[plain]
	l.hits, l.limits = newSegmented(plainMapHits, spec), newSegmented(plainMapLimits, spec)
	l.elder = mapSet{}
	if inForce != nil {
		l.elder = inForce.openMaps(spec, l.log)
		l.leaveUnreadable()
		l.takeSegments(*inForce)
	}
	made, err := l.takeOrMake(spec)
	if err != nil {
		return err
	}
	l.reused = inForce != nil && len(made) == 0
	if inForce != nil && !l.reused {
		l.log.Info("maps of the running filter do not fit and are replaced by new ones",
			"generation", inForce.String(), "maps", slices.Sorted(maps.Keys(made)))
	}
	for _, a := range []*segmented{l.hits, l.limits} {
		if err := a.settle(l.maps[a.name], made[a.name]); err != nil {
			return err
		}
	}
	return l.carry()
}

// openMaps opens the pinned maps of g that a process can take over. Missing ones are left
// out.
func (g generation) openMaps(spec *ebpf.CollectionSpec, log *slog.Logger) mapSet {
	found := mapSet{}
	for name := range shared(spec) {
		if ofOneRun(name) {
			continue
		}
		m, err := ebpf.LoadPinnedMap(filepath.Join(g.path, name), nil)
		if err == nil {
			found[name] = m
		} else if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("a map of the running filter cannot be opened", "generation", g.String(), "map", name,
				"error", err)
		}
	}
	return found
}

// leaveUnreadable closes the maps that this version cannot read. Another version may have
// more counters, but not larger ones, and longer values in tries, but not other keys.
func (l *Loader) leaveUnreadable() {
	for name, m := range l.elder {
		ms := l.specs[plain].Maps[name]
		readable := m.Type() == ms.Type
		switch ms.Type {
		case ebpf.LPMTrie:
			readable = readable && m.KeySize() == ms.KeySize
		case ebpf.PerCPUArray:
			readable = readable && m.ValueSize() == ms.ValueSize
		}
		if readable {
			continue
		}
		l.log.Warn("a map of the running filter cannot be read; its counts start over", "map", name)
		_ = m.Close()
		delete(l.elder, name)
	}
}

// takeSegments takes over drop counters and limits. If that fails, the tries whose nodes
// refer to them are closed too.
func (l *Loader) takeSegments(g generation) {
	var errs []error
	for _, a := range []*segmented{l.hits, l.limits} {
		outer := l.elder[a.name]
		if outer == nil {
			errs = append(errs, fmt.Errorf("map %s is missing", a.name))
			continue
		}
		errs = append(errs, a.takeOver(g, outer, l.log))
	}
	err := errors.Join(errs...)
	if err == nil {
		return
	}
	l.log.Warn("drop counters of entries and the fill of limits start over", "generation", g.String(), "reason", err)
	for _, name := range []string{plainMapHits, plainMapLimits, plainMapBlockV4, plainMapBlockV6} {
		if m := l.elder[name]; m != nil {
			_ = m.Close()
			delete(l.elder, name)
		}
	}
	for _, a := range []*segmented{l.hits, l.limits} {
		_ = a.close()
		a.segments.Store(new([]segment))
	}
}

// takeOrMake moves maps that fit from elder to maps, and makes the others. made has the
// names of the new ones, except those that every process makes.
func (l *Loader) takeOrMake(spec *ebpf.CollectionSpec) (made map[string]bool, err error) {
	l.maps, made = mapSet{}, map[string]bool{}
	for name, ms := range shared(spec) {
		if m := l.elder[name]; m != nil && ms.Compatible(m) == nil {
			l.maps[name] = m
			delete(l.elder, name)
			continue
		}
		m, err := ebpf.NewMap(ms)
		if err != nil {
			return nil, fmt.Errorf("make map %s: %w", name, err)
		}
		l.maps[name] = m
		if !ofOneRun(name) {
			made[name] = true
		}
	}
	return made, nil
}

// carry copies counts into the new maps.
func (l *Loader) carry() error {
	if err := carryAll[plainAttribution](l.elder[plainMapAttribution], l.maps[plainMapAttribution]); err != nil {
		return err
	}
	return carryAll[plainCounter](l.elder[plainMapCounters], l.maps[plainMapCounters])
}

// carrySlot copies the packet counters of a slot once more, unless the slot counts in the
// new map already. Only packets between this and the switch are not counted.
func (l *Loader) carrySlot(slot uint32) error {
	from := l.elder[plainMapCounters]
	if from == nil || l.moved[slot] {
		return nil
	}
	return carryRange[plainCounter](from, l.maps[plainMapCounters], slot<<reasonBits, (slot+1)<<reasonBits)
}

func carryAll[T comparable](from, to *ebpf.Map) error {
	if from == nil {
		return nil
	}
	return carryRange[T](from, to, 0, from.MaxEntries())
}

// carryRange copies the elements of a per-CPU array that both maps have. Others start over.
func carryRange[T comparable](from, to *ebpf.Map, first, end uint32) error {
	var zero T
	for key := first; key < min(end, from.MaxEntries(), to.MaxEntries()); key++ {
		var perCPU []T
		if err := from.Lookup(key, &perCPU); err != nil {
			return fmt.Errorf("read element %d of %s: %w", key, from, err)
		}
		if !slices.ContainsFunc(perCPU, func(v T) bool { return v != zero }) {
			continue
		}
		if err := to.Put(key, perCPU); err != nil {
			return fmt.Errorf("write element %d of %s: %w", key, to, err)
		}
	}
	return nil
}

// HitOwners yields the nodes of block tries that were not taken over, with their counters
// only. It yields none after Commit.
func (l *Loader) HitOwners() iter.Seq2[policy.Node, error] {
	return func(yield func(policy.Node, error) bool) {
		for _, t := range l.elder.tables() {
			if t.kindOf() != policy.Block || !t.isOpen() {
				continue
			}
			for n, err := range t.nodes() {
				n.Verdict = policy.Verdict{HitID: n.Verdict.HitID}
				if !yield(n, err) || err != nil {
					return
				}
			}
		}
	}
}

// forgetElder closes the elder maps, which are not needed any more.
func (l *Loader) forgetElder() error {
	err := l.elder.close()
	l.elder = nil
	return err
}
