package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/paraxial/paraxial/policy"
)

// restricts tells whether a change lets no packet pass that was dropped before:
// blocks come, grow longer or stronger, or allows go. undo takes the change back.
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

// weaker tells whether a block drops less than the one it replaced. A limit of
// another rate does at first, whichever it is, since its bucket is full.
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

// carryOut saves and enforces a change that the book has, or undoes it.
func (e *Engine) carryOut(ctx context.Context, c edited, restricts bool) error {
	if restricts {
		return e.enforceThenSave(ctx, c)
	}
	return e.saveThenEnforce(ctx, c)
}

// enforceThenSave is for changes that restrict: the disk is slower than the
// kernel, and no packet should pass for its sake. A crash in between leaves nodes
// that nobody was promised, which the next start removes.
func (e *Engine) enforceThenSave(ctx context.Context, c edited) error {
	if err := e.enforce(ctx, c.delta, c.tell); err != nil {
		return errors.Join(fmt.Errorf("nothing was changed: %w", err), e.takeBack(ctx, c.undo))
	}
	if err := e.store.Apply(c.ops, e.Reading()); err != nil {
		return errors.Join(&SaveError{err}, e.takeBack(ctx, c.undo))
	}
	return nil
}

// saveThenEnforce is for all other changes: a source that is blocked must not get
// through because a disk is full.
func (e *Engine) saveThenEnforce(ctx context.Context, c edited) error {
	if err := e.store.Apply(c.ops, e.Reading()); err != nil {
		return errors.Join(&SaveError{err}, e.takeBack(ctx, c.undo))
	}
	if err := e.enforce(ctx, c.delta, c.tell); err != nil {
		return errors.Join(fmt.Errorf("nothing was changed: %w", err), e.store.Apply(c.undo, e.Reading()), e.takeBack(ctx, c.undo))
	}
	return nil
}

// edited is a change that the book has, and nobody else yet.
type edited struct {
	ops   []policy.Op
	delta policy.Delta
	undo  []policy.Op
	tell  teller
}

// teller is how the index learns of a change: follow or lapsed of a follower.
type teller func(b *policy.Book, changed ...[]policy.Node)
