package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// mostOps is the number of operations from which on no further edit joins a group.
// The edit that reaches it may exceed it.
const mostOps = 4096

// errPanicked is the error of edits whose group panicked. It is not known how much
// of the group is in force.
var errPanicked = errors.New(
	"the daemon failed on this change: restart paraxiald, which compares the filter with the saved entries")

// edit is a call of Edit.
type edit struct {
	ctx    context.Context
	caller string // see For
	plan   func(*policy.Book) ([]policy.Op, error)
	done   chan struct{} // closed when err is final
	err    error

	silent bool            // it is no change, so its duration is not observed
	claims bool            // it comes from the call that has claimed the set
	aside  <-chan struct{} // closed when d can be queued again; the holder of the turn uses it
}

func (d *edit) finish(err error) {
	d.err = err
	close(d.done)
}

func (d *edit) finished() bool {
	select {
	case <-d.done:
		return true
	default:
		return false
	}
}

// Edit carries out the operations that plan returns, all or none. When it returns
// nil they are durable and enforced. If plan fails, nothing is changed and its
// error is returned as it is. Other errors may wrap ErrFull or be a *SaveError.
//
// plan reads the book while no other change is under way. It must not change the
// book, keep it or wait for anything. It may run on another goroutine. It may run
// several times, if a transaction that it shares with other edits fails: only its
// last run counts.
//
// Edits that wait at the same time share one transaction (group commit), because
// a transaction costs about the same for one edit as for many. For tells the order.
// An edit that still waits when ctx ends is not carried out.
func (e *Engine) Edit(ctx context.Context, plan func(*policy.Book) ([]policy.Op, error)) error {
	return e.edit(ctx, &edit{plan: plan, done: make(chan struct{})})
}

// edit carries out d. While another call replaces the set of an origin, edits of
// that set wait for its end.
func (e *Engine) edit(ctx context.Context, d *edit) error {
	d.ctx, d.caller = ctx, callerOf(ctx)
	for {
		e.queue.add(d)
		replaced, err := e.await(ctx, d)
		if replaced == nil {
			return err
		}
		select {
		case <-replaced:
		case <-ctx.Done():
			return gaveUp(ctx)
		}
	}
}

// await waits until d is finished, or put aside until a replacement has ended.
func (e *Engine) await(ctx context.Context, d *edit) (replaced <-chan struct{}, err error) {
	select {
	case <-d.done:
		return nil, d.err
	case e.turn.held <- struct{}{}:
		e.turn.taken()
		defer e.turn.Unlock()
		for !d.finished() && d.aside == nil {
			e.carryOutGroup(ctx, nil)
		}
		replaced, d.aside = d.aside, nil
		return replaced, d.err
	case <-ctx.Done():
		if e.queue.withdraw(d) {
			return nil, gaveUp(ctx)
		}
		e.turn.Lock() // the group that has d is done then
		defer e.turn.Unlock()
		if d.finished() {
			return nil, d.err
		}
		return nil, gaveUp(ctx)
	}
}

func gaveUp(ctx context.Context) error {
	return fmt.Errorf("nothing was changed: gave up waiting for other changes: %w", ctx.Err())
}

// gatherMost is the longest time for which a group waits for further edits.
const gatherMost = time.Millisecond

// gather waits for as many edits as the last group had. The callers of that group
// tend to send their next edits at the same time, and without a wait the first of
// these would have a transaction of its own. It does not wait if the last group
// was a single edit.
func (e *Engine) gather() {
	if e.grouped > 1 {
		e.queue.gather(e.grouped, gatherMost)
	}
}

// group is one or more edits that are in the book, but not saved or enforced yet.
type group struct {
	edits     []*edit
	ops, undo []policy.Op
	restricts bool
	long      []policy.Op // of its only edit, which goes in parts: not in the book yet
	behind    *edit       // see carryOutGroup
}

// last returns the last edit of the group. If it has none, that is behind.
func (g *group) last() *edit {
	if len(g.edits) == 0 {
		return g.behind
	}
	return g.edits[len(g.edits)-1]
}

// carryOutGroup carries out the waiting edits; with behind only those that may share the
// transaction of behind. The caller has the turn.
func (e *Engine) carryOutGroup(ctx context.Context, behind *edit) {
	start := time.Now()
	g := group{restricts: true, behind: behind}
	defer func() {
		for _, d := range g.edits { // after a panic
			if !d.finished() {
				d.finish(errPanicked)
			}
		}
	}()
	e.gather()
	c := e.book.Begin()
	for len(g.ops) < mostOps && g.long == nil {
		d := e.queue.next(g.last())
		if d == nil {
			break
		}
		if d.ctx.Err() != nil {
			d.finish(gaveUp(d.ctx))
			continue
		}
		if !e.join(&g, c, d) {
			e.queue.putBack(d)
			break
		}
	}
	e.grouped = len(g.edits)
	err := e.complete(ctx, &g, c)
	if err != nil && len(g.edits) > 1 {
		e.carryOutEach(ctx, g.edits)
		return
	}
	for _, d := range g.edits {
		e.finish(d, start, err)
	}
}

// join makes an edit in the book and adds it to the group. An edit of a claimed set
// is put aside. An edit that fails is
// finished. If it fails behind other edits, join reports false instead: it is tried
// again after them, because it may succeed if they fail.
func (e *Engine) join(g *group, c *policy.Change, d *edit) bool {
	ops, err := e.planned(d)
	if err == nil && e.goesInParts(d, ops) {
		if len(g.edits) > 0 {
			return false // it is a group of its own
		}
		g.edits, g.long = append(g.edits, d), ops
		return true
	}
	var undo []policy.Op
	if err == nil {
		undo, err = e.applyIfRoom(c, ops)
	}
	if claimed, ok := errors.AsType[errClaimed](err); ok {
		d.aside = claimed.ended
		return true
	}
	if err != nil && len(g.ops) > 0 {
		return false
	}
	g.edits = append(g.edits, d)
	if err != nil {
		d.finish(err)
		return true
	}
	g.restricts = g.restricts && restricts(ops, undo)
	g.ops = append(g.ops, ops...)
	g.undo = append(undo, g.undo...)
	return true
}

// planned returns the operations of an edit, unless another call has claimed their set.
func (e *Engine) planned(d *edit) (ops []policy.Op, err error) {
	if ops, err = e.plan(d); err != nil {
		return nil, err
	}
	if !d.claims {
		err = e.claimed.check(ops)
	}
	return ops, err
}

// plan runs the plan of an edit. It turns a panic into an error, so that the other
// edits of the group are carried out.
func (e *Engine) plan(d *edit) (ops []policy.Op, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("a change panicked, nothing was changed", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("nothing was changed: the daemon failed on this change: %v; its log says more", p)
		}
	}()
	return d.plan(e.book)
}

// complete saves and enforces the changes that a group made in the book.
func (e *Engine) complete(ctx context.Context, g *group, c *policy.Change) error {
	if g.long != nil {
		return e.carryOutParts(ctx, g.edits[0], g.long)
	}
	delta := c.Compile()
	if len(g.ops) == 0 {
		return nil
	}
	return e.carryOut(ctx, edited{ops: g.ops, undo: g.undo, delta: delta, tell: e.index.follow}, g.restricts)
}

// carryOutEach carries out each edit of a failed group in a transaction of its own,
// so that an edit fails only for its own reason.
func (e *Engine) carryOutEach(ctx context.Context, edits []*edit) {
	for _, d := range edits {
		if d.finished() {
			continue
		}
		start := time.Now()
		g, c := group{restricts: true}, e.book.Begin()
		e.join(&g, c, d)
		e.finish(d, start, e.complete(ctx, &g, c))
	}
}

// finish finishes an edit, unless it has failed before.
func (e *Engine) finish(d *edit, start time.Time, err error) {
	if d.finished() {
		return
	}
	if err == nil && !d.silent {
		e.observe(time.Since(start))
	}
	d.finish(err)
}

// EditUnsaved enforces operations that could not be saved. They last until their
// deadlines or until the process ends. It is for decisions of detectors: nobody
// was promised that they are durable, and an attack must be blocked even if the
// disk is full.
func (e *Engine) EditUnsaved(ctx context.Context, ops []policy.Op) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	c := e.book.Begin()
	undo, err := e.applyIfRoom(c, ops)
	delta := c.Compile() // readers need not wait for this
	if err != nil {
		return err
	}
	if err := e.enforce(ctx, delta, e.index.follow); err != nil {
		return errors.Join(fmt.Errorf("nothing was changed: %w", err), e.takeBack(ctx, undo))
	}
	return nil
}
