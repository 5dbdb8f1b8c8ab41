package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/paraxial/paraxial/policy"
)

// staging is the part of store.Replacement that stage uses.
type staging interface {
	Add([]policy.Entry) error
}

// stage writes the list to the book and the kernel, and at the same time to disk,
// in chunks.
func (j *importJob) stage(ctx context.Context, staged staging) error {
	chunks := make(chan []policy.Entry)
	saved := make(chan error, 1)
	go func() {
		var err error
		for chunk := range chunks {
			if err == nil {
				err = staged.Add(chunk)
			}
		}
		saved <- err
	}()
	err := j.enforceChunks(ctx, chunks)
	close(chunks)
	if saveErr := <-saved; saveErr != nil {
		return &SaveError{saveErr}
	}
	return err
}

// enforceChunks writes the list to the book and the kernel, and sends the entries
// to save. One chunk is written to the kernel while the next is written to the
// book.
func (j *importJob) enforceChunks(ctx context.Context, save chan<- []policy.Entry) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	deltas := make(chan policy.Delta)
	enforced := make(chan error, 1)
	go func() {
		var err error
		for delta := range deltas {
			if err == nil {
				err = j.enforceTries(ctx, delta)
			}
			if err != nil {
				stop() // further chunks would be undone anyway
			}
		}
		enforced <- err
	}()
	err := j.bookChunks(ctx, save, deltas)
	close(deltas)
	if kernelErr := <-enforced; kernelErr != nil {
		return kernelErr
	}
	return err
}

// bookChunks writes the list to the book, and sends the entries of each chunk to
// save and its delta to deltas.
func (j *importJob) bookChunks(ctx context.Context, save chan<- []policy.Entry, deltas chan<- policy.Delta) error {
	// One buffer is filled while the other one is saved.
	var buffers [2][]policy.Entry
	done, total := 0, len(j.set.List.lines)
	for lines := range slices.Chunk(j.set.List.lines, importChunk) {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("the import was stopped: %w", err)
		}
		entries := buffers[0][:0]
		j.each(lines, func(e policy.Entry, _, _ bool) bool {
			entries = append(entries, e)
			return true
		})
		buffers[0], buffers[1] = buffers[1], entries
		save <- entries
		var delta policy.Delta
		j.write(func(b *policy.Book) { delta = b.Put(entries) })
		deltas <- delta
		// All chunks before this one are in the kernel.
		j.progress(done, total)
		done += len(lines)
	}
	return nil
}

// removeStale removes from the book and the tries the entries that are not in the
// list.
func (j *importJob) removeStale(ctx context.Context, stale []policy.EntryRef) error {
	for chunk := range slices.Chunk(stale, importChunk) {
		var delta policy.Delta
		j.write(func(b *policy.Book) { delta = b.Remove(chunk) })
		if err := j.enforceTries(ctx, delta); err != nil {
			return fmt.Errorf(
				"the list is saved, but removed entries are still in the kernel: %w; restart paraxiald", err)
		}
	}
	return nil
}

// rollBack restores the book and the kernel from the store, to which nothing of
// this import was committed.
func (j *importJob) rollBack(ctx context.Context) error {
	origin := j.set.Entry.Origin
	var ops []policy.Op
	for r := range j.book.Origin(policy.Block, origin) {
		e, _ := j.book.Resolve(r)
		ops = append(ops, policy.RemoveOp(e.Key()))
	}
	_, err := j.store.Load(func(e policy.Entry) error {
		if e.Kind == policy.Block && e.Origin == origin && e.Pending == nil {
			ops = append(ops, policy.PutOp(e))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("undo the import: %w; restart paraxiald", err)
	}
	// This is one change, so that only the differences are written and no entry is
	// missing in the kernel for a moment.
	delta, _ := j.change(ops)
	return j.enforce(ctx, delta, j.index.follow)
}
