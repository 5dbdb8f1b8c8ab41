package loader

import (
	"errors"
	"fmt"
	"io/fs"
)

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
	return l.pinSegments(l.hits)
}

// pinSegments pins what was added to an array. That the directory for pins is
// gone is for Attest to find and Attach to repair: a block does not wait for it.
func (l *Loader) pinSegments(a *segmented) error {
	err := a.pin(l.gen)
	if errors.Is(err, fs.ErrNotExist) {
		l.log.Warn("what was added to a map is not pinned yet: the directory for pins is gone", "map", a.name, "error", err)
		return nil
	}
	return err
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
