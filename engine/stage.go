package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// large carries out an import with many changes. The set is staged on disk while
// the kernel takes it in. One small transaction makes it the set of the origin,
// and only then are stale entries removed. A crash before that transaction leaves
// nodes that the next start removes.
//
// The turn is taken for each step, so that other changes need not wait for the
// whole import.
func (j *importJob) large(ctx context.Context) error {
	start := time.Now()
	defer func() { j.observe(time.Since(start)) }()
	if err := j.growHits(); err != nil {
		return err
	}
	// Until renew the index answers as before the import.
	j.index.hold(j.book)
	defer j.index.renew(j.book)
	staged, err := j.store.Begin(j.set.Entry.Origin)
	if err != nil {
		j.saved(err)
		return &SaveError{err}
	}
	if err := j.stage(ctx, staged); err != nil {
		return errors.Join(err, staged.Abort(), j.rollBack(ctx))
	}
	err = staged.Commit(j.Reading())
	j.saved(err)
	if err != nil {
		return errors.Join(&SaveError{err}, staged.Abort(), j.rollBack(ctx))
	}
	return j.removeStale(ctx)
}

// growHits adds the memory for the drop counters of the new entries. The kernel then waits until no
// program uses what was there before, which takes up to 40 ms. A step of the import would hold the
// turn meanwhile, and there is one wait instead of one for every 65,536 entries.
func (j *importJob) growHits() error {
	added := 0
	for _, nodes := range j.need.Nodes {
		added += nodes
	}
	var ids uint32
	j.Read(func(b *policy.Book) { ids = b.HitsAfter(added) })
	if err := j.kernel.GrowHits(ids); err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	return nil
}

// staging is the part of store.Replacement that stage needs.
type staging interface {
	Add([]policy.Entry) error
}

// stage writes the list to the book and the kernel, and at the same time to disk,
// chunk by chunk.
func (j *importJob) stage(ctx context.Context, staged staging) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	chunks := make(chan []policy.Entry)
	saved := make(chan error, 1)
	go func() {
		var err error
		for chunk := range chunks {
			if err == nil {
				err = staged.Add(chunk)
			}
			if err != nil {
				stop() // further chunks would be undone
			}
		}
		saved <- err
	}()
	err := j.enforceChunks(ctx, chunks)
	close(chunks)
	if saveErr := <-saved; saveErr != nil {
		j.saved(saveErr)
		return &SaveError{saveErr}
	}
	return err
}

// enforceChunks writes the list to the book and the kernel. It passes on the
// entries to be saved.
func (j *importJob) enforceChunks(ctx context.Context, save chan<- []policy.Entry) error {
	// One buffer is filled while the other is saved.
	var buffers [2][]policy.Entry
	total := j.set.List.Len()
	j.added = make([]bool, 0, total)
	for lines := range j.chunks(ctx) {
		entries := buffers[0][:0]
		j.each(lines, func(_ *policy.Book, e, _ policy.Entry, exists, _ bool) {
			entries, j.added = append(entries, e), append(j.added, !exists)
		})
		buffers[0], buffers[1] = buffers[1], entries
		save <- entries
		if err := j.enforcePuts(ctx, entries); err != nil {
			return err
		}
		j.progress(len(j.added), total)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("given up: %w", err)
	}
	return nil
}

// enforcePuts puts entries into the book and the tries, in steps.
func (j *importJob) enforcePuts(ctx context.Context, entries []policy.Entry) error {
	for part := range slices.Chunk(entries, turnStep) {
		err := j.enforceStep(ctx, func(c *policy.Change) {
			for step := range slices.Chunk(part, writeStep) {
				j.write(func() { c.Put(step) })
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// enforceStep makes one step of the import in the book and the tries. change makes it
// in the book.
func (j *importJob) enforceStep(ctx context.Context, change func(*policy.Change)) error {
	j.turn.Lock()
	defer j.turn.Unlock()
	if j.change == nil {
		j.change = j.book.Begin()
	}
	j.change.Again()
	change(j.change)
	return j.enforceTries(ctx, j.change.Compile())
}

// removeStale removes the entries that are not in the list from the book and the
// tries.
func (j *importJob) removeStale(ctx context.Context) error {
	if j.Removed == 0 {
		return nil
	}
	err := j.removeFrom(ctx, func(e policy.Entry) bool { return !j.set.List.lines.has(e.Prefix) })
	if err != nil {
		return fmt.Errorf("the list is saved, but old entries are still in the kernel: %w; restart paraxiald", err)
	}
	return nil
}

// removeFrom removes entries of the set from the book and the tries, in steps.
func (j *importJob) removeFrom(ctx context.Context, remove func(policy.Entry) bool) error {
	for from := policy.EntryRef(1); from != 0; {
		err := j.enforceStep(ctx, func(c *policy.Change) {
			var refs []policy.EntryRef
			refs, from = j.book.OriginFrom(policy.Block, j.set.Entry.Origin, from, turnStep)
			refs = slices.DeleteFunc(refs, func(r policy.EntryRef) bool {
				e, _ := j.book.Resolve(r)
				return !remove(e)
			})
			for step := range slices.Chunk(refs, writeStep) {
				j.write(func() { c.Remove(step) })
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}
