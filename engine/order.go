package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/paraxial/paraxial/policy"
)

// restricts reports whether a change lets no packet pass that was dropped before:
// it adds blocks, extends them or makes them stronger, or removes allows. undo is
// the change that undoes it.
func restricts(ops, undo []policy.Op) bool {
	after := make(map[policy.Key]policy.Entry, len(ops))
	for _, op := range ops {
		switch {
		case op.IsPut() && op.Put.Kind == policy.Allow, !op.IsPut() && op.Remove.Kind == policy.Block:
			return false
		case op.IsPut():
			after[op.Put.Key()] = op.Put
		}
	}
	for _, op := range undo {
		if op.IsPut() && op.Put.Kind == policy.Block && weaker(after[op.Put.Key()], op.Put) {
			return false
		}
	}
	return true
}

// weaker reports whether a block drops less than the one it replaced. A limit with
// a different rate, even a lower one, counts as weaker: its new bucket starts full.
func weaker(e, old policy.Entry) bool {
	switch old.Action {
	case policy.Drop:
		return e.Action != policy.Drop || e.Deadline < old.Deadline
	case policy.Limit:
		sameOrDrop := e.Action == policy.Drop || e.Action == policy.Limit && e.Rate == old.Rate
		return !sameOrDrop || e.Deadline < old.Deadline
	}
	return false
}

// carryOut saves and enforces a change that is in the book, or undoes it.
func (e *Engine) carryOut(ctx context.Context, c edited, restricts bool) error {
	if restricts {
		return e.enforceThenSave(ctx, c)
	}
	return e.saveThenEnforce(ctx, c)
}

// enforceThenSave is for changes that restrict: the disk is slower than the
// kernel, and no packet should pass because of that. A crash in between leaves
// nodes in the kernel that are not saved. They were not acknowledged, and the next
// start removes them.
func (e *Engine) enforceThenSave(ctx context.Context, c edited) error {
	if err := e.enforce(ctx, c.delta, c.tell); err != nil {
		return errors.Join(fmt.Errorf("nothing was changed: %w", err), e.takeBack(ctx, c.undo))
	}
	if err := e.save(c.ops); err != nil {
		return errors.Join(&SaveError{err}, e.takeBack(ctx, c.undo))
	}
	return nil
}

// saveThenEnforce is for all other changes: if the disk is full, a blocked source
// must stay blocked.
func (e *Engine) saveThenEnforce(ctx context.Context, c edited) error {
	if err := e.save(c.ops); err != nil {
		return errors.Join(&SaveError{err}, e.takeBack(ctx, c.undo))
	}
	if err := e.enforce(ctx, c.delta, c.tell); err != nil {
		err = fmt.Errorf("nothing was changed: %w", err)
		return errors.Join(err, e.store.Apply(c.undo, e.Reading()), e.takeBack(ctx, c.undo))
	}
	return nil
}

// save writes ops to disk.
func (e *Engine) save(ops []policy.Op) error {
	err := e.store.Apply(ops, e.Reading())
	e.saved(err)
	return err
}

// edited is a change that is in the book, but neither saved nor in the kernel.
type edited struct {
	ops   []policy.Op
	delta policy.Delta
	undo  []policy.Op
	tell  teller
}

// teller updates the index after a change: follow or lapsed of a follower.
type teller func(b *policy.Book, changed ...[]policy.Node)
