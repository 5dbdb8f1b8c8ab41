package engine

import (
	"context"
	"fmt"
	"iter"

	"github.com/paraxial/paraxial/policy"
)

// Running reads the tries and limits that an earlier run left in the kernel.
type Running interface {
	Nodes(policy.Kind) iter.Seq2[policy.Node, error]
	Limits() iter.Seq[policy.HeldLimit]
	// HitOwners yields the block nodes of tries that are being replaced. Only
	// their drop counters are used.
	HitOwners() iter.Seq2[policy.Node, error]
}

// writeBatch is how many nodes are handed to the kernel at once.
const writeBatch = 16_384

// Fill loads the book from the store and makes the kernel's tries equal to it. It
// writes only the differences, so a running filter is not interrupted.
func (e *Engine) Fill(ctx context.Context, running Running) error {
	stats, err := e.store.Load(func(entry policy.Entry) error {
		e.book.Load(entry)
		return nil
	})
	if err != nil {
		return err
	}
	e.log.Info("entries loaded", "live", stats.Live, "expired", stats.Expired)
	delta, err := e.adopt(running)
	if err != nil {
		return fmt.Errorf("read the running filter: %w", err)
	}
	if err := e.reconcile(ctx, delta); err != nil {
		return fmt.Errorf("bring the running filter up to date: %w", err)
	}
	return nil
}

// adopt passes the nodes and limits of the kernel to the book.
func (e *Engine) adopt(running Running) (policy.Delta, error) {
	var broken error
	checked := func(nodes iter.Seq2[policy.Node, error]) iter.Seq[policy.Node] {
		return func(yield func(policy.Node) bool) {
			for n, err := range nodes {
				if err != nil {
					broken = err
					return
				}
				if !yield(n) {
					return
				}
			}
		}
	}
	e.book.AdoptHits(checked(running.HitOwners()))
	delta := e.book.Adopt(func(yield func(policy.Node) bool) {
		for _, kind := range []policy.Kind{policy.Allow, policy.Block} {
			for n := range checked(running.Nodes(kind)) {
				if !yield(n) {
					return
				}
			}
		}
	}, running.Limits())
	return delta, broken
}

// reconcile writes every node in which the kernel differs from the book, and makes
// the other changes of delta. Allows are written before blocks, and puts before
// deletes, so that a source whose verdict stays the same has no other verdict
// meanwhile. The index is always rebuilt, because checking the one of an earlier
// run, which is in force until then, would cost as much.
func (e *Engine) reconcile(ctx context.Context, delta policy.Delta) error {
	if err := e.putNodes(ctx, policy.Delta{FreshHits: delta.FreshHits, Limits: delta.Limits}); err != nil {
		return err
	}
	written := 0
	var batch policy.Delta
	for _, kind := range []policy.Kind{policy.Allow, policy.Block} {
		for n := range e.book.Compile(kind) {
			if batch.Put = append(batch.Put, n); len(batch.Put) < writeBatch {
				continue
			}
			if err := e.kernel.Apply(ctx, batch); err != nil {
				return err
			}
			written += len(batch.Put)
			batch.Put = batch.Put[:0]
		}
	}
	written += len(batch.Put)
	e.log.Info("filter compared with the book", "differ", written, "stale", len(delta.Delete))
	if err := e.kernel.Apply(ctx, batch); err != nil {
		return err
	}
	e.index.build(e.book)
	return e.deleteNodes(ctx, delta)
}
