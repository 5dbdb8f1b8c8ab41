// Package engine is the ledger: it keeps the store, the book, the kernel's
// tries and the index in front of them in step, and is the only writer of all
// four.
//
// Locks are taken in this order: the turn, then mu, then the locks of the
// loader. A caller may hold locks of its own when it calls a method of Engine,
// if no function that it passes to the engine takes them.
package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

// Kernel writes the tries and the limits. No call may keep the delta.
type Kernel interface {
	Apply(context.Context, policy.Delta) error
	GrowHits(ids uint32) error
	ClearHits(id uint32)
}

// follower is the index, as a change sees it. The caller has the turn.
type follower interface {
	// follow updates the index after nodes of the book changed.
	follow(b *policy.Book, changed ...[]policy.Node)
	// lapsed is follow for nodes that changed only because entries expired.
	lapsed(b *policy.Book, changed ...[]policy.Node)
	// hold comes before a change in many steps, which ends with renew. Between them
	// no index is built. The caller of both does not have the turn.
	hold(b *policy.Book)
	// renew builds new indexes and returns when they are in force.
	renew(b *policy.Book)
	// build builds a new index.
	build(b *policy.Book)
	// close waits until no index is being built. The caller does not have the turn.
	close()
}

// Options are the parts that an engine works on. All fields are required.
type Options struct {
	Log        *slog.Logger
	Clock      Clock
	Store      *store.Store
	Kernel     Kernel
	Publisher  Publisher
	Room       policy.Room         // what the book may hold
	DropCounts uint32              // capacity of the kernel's drop counters
	Observe    func(time.Duration) // receives the duration of each change
	Saved      func(error)         // receives the outcome of each attempt to save a change
}

// Engine makes changes durable and enforces them. Its methods may be called
// from several goroutines at once.
type Engine struct {
	Clock
	log     *slog.Logger
	store   *store.Store
	kernel  Kernel
	index   follower
	observe func(time.Duration)
	saved   func(error)
	room    policy.Room

	// turn is held from the first look at the book until the change is
	// acknowledged. Its holder may read the book without mu.
	turn    turn
	queue   queue
	grouped int   // number of edits in the last group
	sweep   batch // size of the next batch of expired entries
	claimed claims

	replacing *replacements

	mu   sync.RWMutex // guards book, and is held briefly
	book *policy.Book
}

// New returns an engine with an empty book. Fill loads it.
func New(o Options) *Engine {
	e := &Engine{
		Clock: o.Clock, log: o.Log, store: o.Store, kernel: o.Kernel, observe: o.Observe, saved: o.Saved,
		room: o.Room,
		turn: newTurn(), claimed: make(claims), replacing: newReplacements(),
		book: policy.NewBook(o.DropCounts),
	}
	e.index = newIndexes(o.Log, o.Publisher, e.turn)
	return e
}

// Close waits until no index is being built. It closes neither the store nor
// the kernel's maps.
func (e *Engine) Close() { e.index.close() }

// ErrFull is in the chain of the error of a change for which there is no room.
var ErrFull = policy.ErrNoRoom

// SaveError is the error of a change that was not made because it could not be
// saved.
type SaveError struct{ err error }

func (e *SaveError) Error() string {
	return fmt.Sprintf("nothing was changed, because it could not be saved: %v", e.err)
}

func (e *SaveError) Unwrap() error { return e.err }

// turn is a mutex that can be waited for together with other events. It counts how often it
// was taken.
type turn struct {
	held  chan struct{} // holds one element while the turn is taken
	count *atomic.Uint64
}

func newTurn() turn { return turn{held: make(chan struct{}, 1), count: new(atomic.Uint64)} }

func (t turn) Lock() {
	t.held <- struct{}{}
	t.taken()
}

func (t turn) Unlock() { <-t.held }

// taken is called by everybody who has taken the turn, before anything else.
func (t turn) taken() { t.count.Add(1) }

// Read calls f with the book, which f must neither change nor keep. It may run
// between two steps of a change, so f may see a change that fails later.
func (e *Engine) Read(f func(*policy.Book)) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	f(e.book)
}

// Undisturbed calls f, and reports whether no change was under way meanwhile, so that the book
// and the kernel agreed. It does not delay changes, and does not wait for them.
func (e *Engine) Undisturbed(f func()) bool {
	// The order matters: taken comes after held is filled, and before it is emptied.
	before := e.turn.count.Load()
	free := len(e.turn.held) == 0
	f()
	return free && len(e.turn.held) == 0 && e.turn.count.Load() == before
}

// change carries out ops in the book alone. The caller has the turn.
func (e *Engine) change(ops []policy.Op) (policy.Delta, []policy.Op) {
	c := e.book.Begin()
	undo := e.applyInSteps(c, ops)
	return c.Compile(), undo // readers need not wait for this
}

// write calls f, which changes the book.
func (e *Engine) write(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

// enforce brings a delta into the kernel. It ignores the end of ctx, because a
// change that is on disk must be completed.
//
// The order keeps the index correct at every instant: a source that the index
// calls clean has no effective node in the tries, and a source that the index
// drops has one. So puts go into the tries first, then the index is updated, and
// then nodes are deleted.
func (e *Engine) enforce(ctx context.Context, delta policy.Delta, tell teller) error {
	ctx = context.WithoutCancel(ctx)
	if err := e.putNodes(ctx, delta); err != nil {
		return err
	}
	tell(e.book, delta.Put, delta.Delete)
	return e.deleteNodes(ctx, delta)
}

// enforceTries is enforce for one part of a large change. The index is rebuilt
// after the last part, and until then answers as before the change.
func (e *Engine) enforceTries(ctx context.Context, delta policy.Delta) error {
	return e.enforce(ctx, delta, func(*policy.Book, ...[]policy.Node) {})
}

// putNodes writes the nodes of a delta into the tries, and the limits that they
// refer to.
func (e *Engine) putNodes(ctx context.Context, delta policy.Delta) error {
	if len(delta.FreshHits) > 0 {
		if err := e.kernel.GrowHits(slices.Max(delta.FreshHits) + 1); err != nil {
			return err
		}
	}
	for _, id := range delta.FreshHits {
		e.kernel.ClearHits(id)
	}
	return e.kernel.Apply(ctx, policy.Delta{Limits: delta.Limits, Put: delta.Put})
}

func (e *Engine) deleteNodes(ctx context.Context, delta policy.Delta) error {
	return e.kernel.Apply(ctx, policy.Delta{Delete: delta.Delete, FreeLimits: delta.FreeLimits})
}

// takeBack undoes a change in the book and the kernel. It writes to the kernel
// even if the change did not reach it, because a node that is put back into the
// book gets a new drop counter.
func (e *Engine) takeBack(ctx context.Context, undo []policy.Op) error {
	delta, _ := e.change(undo)
	if err := e.enforce(ctx, delta, e.index.follow); err != nil {
		return fmt.Errorf("undo the change in the filter: %w; restart paraxiald", err)
	}
	return nil
}

// applyIfRoom makes ops in the book, unless there is no room for them. The caller has
// the turn.
func (e *Engine) applyIfRoom(c *policy.Change, ops []policy.Op) (undo []policy.Op, err error) {
	standing, author := policy.StandingOfAll(ops)
	before := e.book.Usage(author)
	undo = e.applyInSteps(c, ops)
	if err := e.room.Check(standing, before, e.book.Usage(author)); err != nil {
		e.applyInSteps(c, undo)
		return nil, err
	}
	return undo, nil
}

// writeStep is the number of operations that are made in the book at a time, so that
// readers wait only briefly for a large change.
const writeStep = 32

// applyInSteps makes ops in the book, and returns the operations that undo them.
func (e *Engine) applyInSteps(c *policy.Change, ops []policy.Op) (undo []policy.Op) {
	undo = make([]policy.Op, 0, len(ops))
	for step := range slices.Chunk(ops, writeStep) {
		e.write(func() {
			made := c.Step(step)
			slices.Reverse(made)
			undo = append(undo, made...)
		})
	}
	for more := true; more; {
		e.write(func() { more = c.SettleOwners(writeStep) })
	}
	slices.Reverse(undo)
	return undo
}

// roomFor returns an error if there is no room for further entries of the origin and
// author of entry.
func (e *Engine) roomFor(entry policy.Entry, need policy.Need) (err error) {
	e.Read(func(b *policy.Book) {
		before := b.Usage(entry.Author)
		err = e.room.Check(policy.StandingOf(entry.Origin, entry.Author), before, before.With(need))
	})
	return err
}

// Full returns the parts of the room in which only the reserve is left, as texts for
// people. Lists, and users other than root, can add no more entries there.
func (e *Engine) Full() (full []string) {
	e.Read(func(b *policy.Book) { full = e.room.Full(b.Usage("")) })
	return full
}

// Room returns what the book may hold.
func (e *Engine) Room() policy.Room { return e.room }
