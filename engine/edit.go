package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// mostOps is how many operations a group of edits reaches before no further edit
// joins it. The group that reaches it may be larger, by one edit.
const mostOps = 4096

// errPanicked is the error of edits whose group panicked. What of it is in
// force is not known.
var errPanicked = errors.New("the daemon failed on this change: restart paraxiald, which compares the filter with what is saved")

// edit is a call of Edit.
type edit struct {
	plan func(*policy.Book) ([]policy.Op, error)
	done chan struct{} // closed when err is set
	err  error
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

// queue holds the edits that wait, in the order in which they came.
type queue struct {
	mu      sync.Mutex
	waiting []*edit
	full    chan struct{} // closed when wanted edits wait; nil unless gather is running
	wanted  int
}

func (q *queue) add(d *edit) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, d)
	if q.full != nil && len(q.waiting) >= q.wanted {
		close(q.full)
		q.full = nil
	}
}

// gather returns when n edits wait, or after d. The caller has the turn.
func (q *queue) gather(n int, d time.Duration) {
	q.mu.Lock()
	if len(q.waiting) >= n {
		q.mu.Unlock()
		return
	}
	full := make(chan struct{})
	q.full, q.wanted = full, n
	q.mu.Unlock()
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	select {
	case <-full:
	case <-timeout.C:
		q.mu.Lock()
		q.full = nil
		q.mu.Unlock()
	}
}

// next removes the first edit, and returns nil if there is none.
func (q *queue) next() *edit {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil
	}
	d := q.waiting[0]
	q.waiting = q.waiting[1:]
	return d
}

// putBack makes d the first again.
func (q *queue) putBack(d *edit) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = slices.Insert(q.waiting, 0, d)
}

// withdraw removes d, and reports false if d was removed before.
func (q *queue) withdraw(d *edit) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, d)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// Edit makes the operations that plan returns, all or none. When it returns nil
// they are durable and enforced. An error of plan, after which nothing is
// changed, is returned as it is; other errors may wrap ErrFull or be a
// *SaveError.
//
// plan reads the book while no other change is under way. It must neither
// change nor keep it, nor wait for anything. It runs on another goroutine if
// edits wait together, and runs again if their common transaction fails: only
// its last run counts.
//
// Edits that wait at the same time share one transaction (group commit, as
// databases have it), because a transaction costs the same for one as for many.
func (e *Engine) Edit(ctx context.Context, plan func(*policy.Book) ([]policy.Op, error)) error {
	d := &edit{plan: plan, done: make(chan struct{})}
	e.queue.add(d)
	select {
	case <-d.done:
		return d.err
	case e.turn <- struct{}{}:
		defer e.turn.Unlock()
		for !d.finished() {
			e.carryOutGroup(ctx)
		}
		return d.err
	case <-ctx.Done():
		if e.queue.withdraw(d) {
			return fmt.Errorf("nothing was changed: gave up waiting for other changes: %w", ctx.Err())
		}
		<-d.done
		return d.err
	}
}

// gatherMost bounds the time for which a group waits for further edits.
const gatherMost = time.Millisecond

// gather waits for edits that are about to come. After a group of several, its
// callers send their next edits at about the same time, and without a wait the
// first of them would take a transaction for itself. An edit that comes alone
// does not wait.
func (e *Engine) gather() {
	if e.grouped > 1 {
		e.queue.gather(e.grouped, gatherMost)
	}
}

// group is several edits that the book has, and no other copy yet.
type group struct {
	edits     []*edit
	ops, undo []policy.Op
	restricts bool
}

// carryOutGroup carries out the edits that wait. The caller has the turn.
func (e *Engine) carryOutGroup(ctx context.Context) {
	start := time.Now()
	g := group{restricts: true}
	defer func() {
		for _, d := range g.edits { // after a panic
			if !d.finished() {
				d.finish(errPanicked)
			}
		}
	}()
	e.gather()
	c := e.book.Begin()
	for len(g.ops) < mostOps {
		d := e.queue.next()
		if d == nil {
			break
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

// join adds an edit to a group, in the book, and finishes an edit that fails. It
// reports false if the edit failed behind others: it is tried again when they are
// saved, since without them it may succeed.
func (e *Engine) join(g *group, c *policy.Change, d *edit) bool {
	ops, undo, err := e.enter(c, d)
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

// enter makes an edit in the book, if there is room.
func (e *Engine) enter(c *policy.Change, d *edit) (ops, undo []policy.Op, err error) {
	if ops, err = e.plan(d); err != nil {
		return nil, nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	undo = c.Apply(ops)
	if len(ops) > 0 && e.overfull() {
		c.Apply(undo)
		return nil, nil, ErrFull
	}
	return ops, undo, nil
}

// plan turns a panic into an error: the other edits of the group are innocent.
func (e *Engine) plan(d *edit) (ops []policy.Op, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("a change panicked, nothing was changed", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("nothing was changed: the daemon failed on this change: %v; its log says more", p)
		}
	}()
	return d.plan(e.book)
}

// complete saves and enforces what a group did to the book.
func (e *Engine) complete(ctx context.Context, g *group, c *policy.Change) error {
	var delta policy.Delta
	e.write(func(*policy.Book) { delta = c.Compile() })
	if len(g.ops) == 0 {
		return nil
	}
	return e.carryOut(ctx, edited{ops: g.ops, undo: g.undo, delta: delta, tell: e.index.follow}, g.restricts)
}

// carryOutEach gives every edit of a group that failed a transaction of its own,
// so that an edit fails for its own reason only.
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

// finish ends an edit that has not failed before.
func (e *Engine) finish(d *edit, start time.Time, err error) {
	if d.finished() {
		return
	}
	if err == nil {
		e.observe(time.Since(start))
	}
	d.finish(err)
}

// EditUnsaved enforces operations that could not be saved. They end with their
// deadlines or with the process. It is for decisions of detectors: nobody was
// told that they last, and an attack does not wait for room on the disk.
func (e *Engine) EditUnsaved(ctx context.Context, ops []policy.Op) error {
	e.turn.Lock()
	defer e.turn.Unlock()
	delta, undo := e.change(ops)
	if e.overfull() {
		return errors.Join(ErrFull, e.takeBack(ctx, undo))
	}
	if err := e.enforce(ctx, delta, e.index.follow); err != nil {
		return errors.Join(fmt.Errorf("nothing was changed: %w", err), e.takeBack(ctx, undo))
	}
	return nil
}
