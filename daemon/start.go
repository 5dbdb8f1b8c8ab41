package daemon

import (
	"context"
	"fmt"
	"iter"

	"github.com/paraxial/paraxial/policy"
)

// nodeReader reads the kernel's tries.
type nodeReader interface {
	Nodes(policy.Kind) iter.Seq2[policy.Node, error]
}

// writeBatch is how many nodes are handed to the kernel at once.
const writeBatch = 50_000

// fill loads the book from the store and makes the kernel's tries equal to it,
// changing only what differs: a filter that runs goes on running.
func (e *engine) fill(ctx context.Context, running nodeReader) error {
	stats, err := e.store.Load(func(entry policy.Entry) error {
		e.book.Load(entry)
		return nil
	})
	if err != nil {
		return err
	}
	if err := e.adopt(running); err != nil {
		return fmt.Errorf("read the running filter: %w", err)
	}
	e.log.Info("entries loaded", "live", stats.Live, "expired", stats.Expired)
	for _, kind := range []policy.Kind{policy.Allow, policy.Block} {
		if err := e.reconcile(ctx, kind, running); err != nil {
			return fmt.Errorf("bring the %s tries up to date: %w", kind, err)
		}
	}
	return nil
}

// adopt compiles the book, keeping the drop counters of the running filter.
func (e *engine) adopt(running nodeReader) error {
	var broken error
	fresh := e.book.Start(func(yield func(policy.Node) bool) {
		for n, err := range running.Nodes(policy.Block) {
			if err != nil {
				broken = err
				return
			}
			if !yield(n) {
				return
			}
		}
	})
	for _, id := range fresh {
		e.kernel.ClearHits(id)
	}
	return broken
}

// reconcile compares one kind's tries with the book, node by node. Puts go
// before deletes, so that nothing that is to be decided the same is decided
// otherwise meanwhile.
func (e *engine) reconcile(ctx context.Context, kind policy.Kind, running nodeReader) error {
	var delta policy.Delta
	present := 0
	for n, err := range running.Nodes(kind) {
		if err != nil {
			return err
		}
		want, ok := e.book.Node(kind, n.Prefix)
		if !ok {
			delta.Delete = append(delta.Delete, policy.Node{Kind: kind, Prefix: n.Prefix})
			continue
		}
		present++
		if want != n {
			delta.Put = append(delta.Put, want)
		}
	}
	e.log.Info("filter compared with the book", "kind", kind, "present", present, "differ", len(delta.Put), "stale", len(delta.Delete))
	// Which nodes are missing is not kept track of: after a reboot it is all of
	// them, and writing a node that is there again does no harm.
	if present < e.book.Size(kind, false)+e.book.Size(kind, true) {
		if err := e.writeAll(ctx, kind); err != nil {
			return err
		}
	}
	return e.kernel.Apply(ctx, delta)
}

func (e *engine) writeAll(ctx context.Context, kind policy.Kind) error {
	var delta policy.Delta
	for n := range e.book.Nodes(kind) {
		delta.Put = append(delta.Put, n)
		if len(delta.Put) == writeBatch {
			if err := e.kernel.Apply(ctx, delta); err != nil {
				return err
			}
			delta.Put = delta.Put[:0]
		}
	}
	return e.kernel.Apply(ctx, delta)
}

// reloadDeadlines takes the deadlines of entries over from the store, where
// they have been corrected.
func (e *engine) reloadDeadlines(ctx context.Context) error {
	e.change.Lock()
	defer e.change.Unlock()
	var ops []policy.Op
	flush := func() error {
		delta, _ := e.edit(ops)
		ops = ops[:0]
		return e.enforce(ctx, delta)
	}
	_, err := e.store.Load(func(entry policy.Entry) error {
		var old policy.Entry
		var known bool
		e.read(func(b *policy.Book) { old, known = b.Get(entry.Key()) })
		if !known || old.Deadline == entry.Deadline {
			return nil
		}
		if ops = append(ops, policy.PutOp(entry)); len(ops) < writeBatch {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}
