package loader

import "fmt"

// HitCapacity returns how many hit ids there can be: valid ones are below it,
// and 0 is nobody's.
func (l *Loader) HitCapacity() uint32 { return l.hits.capacity }

// GrowHits makes sure that all ids below the number have memory, of which
// there is 512 KiB for every 65,536 of them. Call it before the first of them
// is handed out: the program counts nothing for an id without memory. Where
// memory has to be added it takes up to some 40 ms. The error is a *FullError
// for a number above HitCapacity.
func (l *Loader) GrowHits(ids uint32) error {
	if err := l.growSegments(l.hits, ids); err != nil {
		return fmt.Errorf("add drop counters: %w", explain(err))
	}
	return nil
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
