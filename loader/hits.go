package loader

import "fmt"

// HitCapacity returns the limit of hit ids: valid ones are below it. 0 is not used.
func (l *Loader) HitCapacity() uint32 { return l.hits.capacity }

// GrowHits makes sure that all ids below the number have memory, which is 512 KiB for each
// 65,536 ids. Call it before the ids are handed out: the program counts nothing for an id
// without memory. If memory has to be added, this takes up to about 40 ms. The error is a
// *FullError for a number above HitCapacity.
func (l *Loader) GrowHits(ids uint32) error {
	if err := l.growSegments(l.hits, ids); err != nil {
		return fmt.Errorf("add drop counters: %w", explain(err))
	}
	return nil
}

// Hits returns how many packets id has dropped or, for a shadow entry, would have dropped.
// It is 0 for an id without memory.
func (l *Loader) Hits(id uint32) uint64 {
	w, i, ok := l.hits.at(id)
	if !ok {
		return 0
	}
	return w.load(i)
}

// ClearHits sets the count of id to zero. Call it before the id is handed out.
func (l *Loader) ClearHits(id uint32) {
	if w, i, ok := l.hits.at(id); ok {
		w.store(i, 0)
	}
}
