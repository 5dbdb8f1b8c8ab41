package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/paraxial/paraxial/policy"
)

// partMost is the number of operations that root and the daemon itself wait for, while a longer
// edit of another caller is carried out. Smaller parts would let more transactions of the daemon go
// in between, each of which waits for the disk, and keep other users waiting for longer.
const partMost = 1024

// goesInParts reports whether an edit is carried out in parts. The edits of root and of the daemon
// are not, so that a part never waits for the parts of another edit. Only an edit that restricts
// can be: others are saved first, as a whole.
func (e *Engine) goesInParts(d *edit, ops []policy.Op) bool {
	if isFirst(d.caller) || len(ops) <= partMost {
		return false
	}
	one := setOfOp(ops[0])
	undo := make([]policy.Op, 0, len(ops))
	for _, op := range ops {
		if !op.IsPut() || setOfOp(op) != one {
			return false
		}
		if old, ok := e.book.Get(op.Put.Key()); ok {
			undo = append(undo, policy.PutOp(old))
		}
	}
	return restricts(ops, undo)
}

func setOfOp(op policy.Op) set {
	if op.IsPut() {
		return setOf(op.Put.Key())
	}
	return setOf(op.Remove)
}

// carryOutParts makes the operations of an edit in the book and the kernel, in parts, and then
// saves all of them in one transaction. Between the parts the waiting edits of root and of the
// daemon are carried out, except those of the same set. So they wait for one part, or for the
// transaction, and not for the whole edit. Either all parts are made or none, as for any edit.
func (e *Engine) carryOutParts(ctx context.Context, d *edit, ops []policy.Op) error {
	release := e.claimForParts(d, ops)
	defer release()
	undo := make([]policy.Op, 0, len(ops))
	for part := range slices.Chunk(ops, partMost) {
		made, err := e.carryOutPart(ctx, part)
		undo = append(made, undo...)
		if err != nil {
			return errors.Join(err, e.takeBackParts(ctx, undo))
		}
		e.letFirstGo(ctx)
	}
	if err := e.save(ops); err != nil {
		return errors.Join(&SaveError{err}, e.takeBackParts(ctx, undo))
	}
	return nil
}

// carryOutPart makes one part in the book and the kernel. undo is what undoes it, also after an error.
func (e *Engine) carryOutPart(ctx context.Context, part []policy.Op) (undo []policy.Op, err error) {
	c := e.book.Begin()
	undo, err = e.applyIfRoom(c, part)
	delta := c.Compile()
	if err != nil {
		return nil, err
	}
	if err := e.enforce(ctx, delta, e.index.follow); err != nil {
		return undo, fmt.Errorf("nothing was changed: %w", err)
	}
	return undo, nil
}

// takeBackParts is takeBack in parts.
func (e *Engine) takeBackParts(ctx context.Context, undo []policy.Op) (err error) {
	for part := range slices.Chunk(undo, partMost) {
		err = errors.Join(err, e.takeBack(ctx, part))
		e.letFirstGo(ctx)
	}
	return err
}

// letFirstGo carries out the waiting edits of root and of the daemon. The caller has the turn, and
// no change that is not compiled.
func (e *Engine) letFirstGo(ctx context.Context) {
	for e.queue.firstWaits() {
		e.carryOutGroup(ctx, &edit{})
	}
}

// claimForParts keeps other edits away from the set of an edit, until release. An import has claimed
// it already.
func (e *Engine) claimForParts(d *edit, ops []policy.Op) (release func()) {
	if d.claims {
		return func() {}
	}
	c, s := &claim{ended: make(chan struct{})}, setOfOp(ops[0])
	e.claimed[s] = c
	return func() {
		delete(e.claimed, s)
		close(c.ended)
	}
}
