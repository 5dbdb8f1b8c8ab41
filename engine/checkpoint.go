package engine

import (
	"context"
	"fmt"

	"github.com/paraxial/paraxial/policy"
)

// Checkpoint saves how much time has passed. After a crash entries last longer
// by the time since the last checkpoint.
//
// When the wall clock is known to be correct, it also corrects the deadlines of
// entries of earlier boots by the time that the machine was off, and reports that
// it did.
func (e *Engine) Checkpoint(ctx context.Context) (corrected bool, err error) {
	reading := e.Reading()
	if err := e.store.Checkpoint(reading); err != nil {
		return false, fmt.Errorf(
			"save the time: after a crash, bans would last longer by the time since the last checkpoint: %w", err)
	}
	corrected, err = e.store.Resync(reading)
	if err == nil && corrected {
		err = e.reloadDeadlines(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("correct deadlines for the time the machine was off: %w", err)
	}
	return corrected, nil
}

// reloadDeadlines copies the deadlines that were corrected from the store to the
// book and the kernel.
func (e *Engine) reloadDeadlines(ctx context.Context) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	var ops []policy.Op
	flush := func() error {
		delta, _ := e.change(ops)
		ops = ops[:0]
		return e.enforce(ctx, delta, e.index.follow)
	}
	_, err := e.store.Load(func(entry policy.Entry) error {
		old, known := e.book.Get(entry.Key())
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
