package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/paraxial/paraxial/policy"
)

// rollBack restores the set of the origin, of which the store has committed nothing of this
// import, in the book and the tries. It looks only at what was applied, in steps, so that other
// changes are carried out meanwhile. No entry of the set is missing for a moment: those that the
// import has changed are put as they were, and those that it has added are removed.
func (j *importJob) rollBack(ctx context.Context) error {
	err := j.restore(ctx)
	if err == nil {
		err = j.removeAdded(ctx)
	}
	if err != nil {
		return fmt.Errorf("the set could not be restored: %w; restart paraxiald", err)
	}
	return nil
}

// restore puts the saved entries that the import has changed.
func (j *importJob) restore(ctx context.Context) error {
	if j.Renewed == 0 {
		return nil
	}
	for from := []byte(nil); ; {
		saved, next, err := j.store.Page(j.set.Entry.Origin, from, importChunk)
		if err != nil {
			return fmt.Errorf("read back the saved entries: %w", err)
		}
		saved = slices.DeleteFunc(saved, func(e policy.Entry) bool { return !j.hasChanged(e) })
		if err := j.enforcePuts(ctx, saved); err != nil || next == nil {
			return err
		}
		from = next
	}
}

// hasChanged reports whether the import has put another entry in the place of e.
func (j *importJob) hasChanged(e policy.Entry) bool {
	at, ok := j.set.List.lines.find(e.Prefix)
	if !ok || at >= len(j.added) {
		return false
	}
	_, same := j.entry(j.set.List.lines.at(at), e, true)
	return !same
}

// removeAdded removes the entries that the import has added.
func (j *importJob) removeAdded(ctx context.Context) error {
	return j.removeFrom(ctx, func(e policy.Entry) bool {
		at, ok := j.set.List.lines.find(e.Prefix)
		return ok && at < len(j.added) && j.added[at]
	})
}
