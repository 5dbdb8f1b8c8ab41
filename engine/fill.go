package engine

import (
	"context"
	"fmt"
	"iter"

	"github.com/paraxial/paraxial/policy"
)

// Running is the filter that an earlier run left: it reads the kernel's tries and limits.
type Running interface {
	Nodes(policy.Kind) iter.Seq2[policy.Node, error]
	Limits() iter.Seq[policy.HeldLimit]
	// HitOwners are the block nodes of tries that are being replaced, for their
	// drop counters alone.
	HitOwners() iter.Seq2[policy.Node, error]
}

// writeBatch is how many nodes are handed to the kernel at once.
const writeBatch = 16_384

// Fill loads the book from the store and makes the kernel's tries equal to it,
// changing only what differs: a filter that runs goes on running.
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

// adopt tells the book what the kernel holds.
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

// reconcile writes what the book has otherwise than the kernel, and then does
// what delta says on top. Allows go before blocks and puts before deletes, so
// that nothing that is to be decided the same is decided otherwise meanwhile.
// The index is always built anew: that of an earlier run, which is in force
// until then, cannot be checked for less.
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
	return e.kernel.Apply(ctx, policy.Delta{Delete: delta.Delete, FreeLimits: delta.FreeLimits})
}
