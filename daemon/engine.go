package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

// kernel is what the engine needs of the loader.
type kernel interface {
	Apply(context.Context, policy.Delta) error
	GrowHits(ids uint32) error
	ClearHits(id uint32)
	Hits(id uint32) uint64
	Sampled() (uint64, error)
}

// follower is what the engine needs of the index in front of the tries. The
// book does not change while one of its methods is at work.
type follower interface {
	// follow brings the index up to date with the book after changes of nodes.
	follow(b *policy.Book, changed ...[]policy.Node)
	// lapsed is follow for changes that entries past their deadline left.
	lapsed(b *policy.Book, changed ...[]policy.Node)
	// prepare comes before a large change, at whose end it is built.
	prepare(b *policy.Book)
	// build makes it anew.
	build(b *policy.Book)
}

// engine keeps the three copies of the truth in step: the store, which is what
// was promised; the book, which is what is known; the kernel, which is what is
// done. It is the only one to write any of them.
type engine struct {
	log     *slog.Logger
	clock   clock
	store   *store.Store
	kernel  kernel
	index   follower
	applied func(time.Duration) // observes how long a change took
	limit   int                 // nodes per trie

	// change serialises changes from the first look at the book to the
	// acknowledgement. mu guards the book itself, and is held briefly; who holds
	// change may read the book without it.
	change sync.Mutex
	mu     sync.RWMutex
	book   *policy.Book
}

// errFull is a change that the kernel's tries have no room for.
var errFull = errors.New("no room left in the kernel maps: raise max_entries in the configuration and restart paraxiald")

// saveError is a change that could not be made durable, and so was not made.
type saveError struct{ err error }

func (e *saveError) Error() string {
	return fmt.Sprintf("nothing was changed, because it could not be saved: %v", e.err)
}

func (e *saveError) Unwrap() error { return e.err }

// apply makes the changes durable and enforces them, all or none. When it
// returns nil they are acknowledged: on disk and in the kernel.
func (e *engine) apply(ctx context.Context, ops []policy.Op) error {
	e.change.Lock()
	defer e.change.Unlock()
	return e.applyLocked(ctx, ops)
}

// applyLocked is apply for a caller that holds change.
func (e *engine) applyLocked(ctx context.Context, ops []policy.Op) error {
	if len(ops) == 0 {
		return nil
	}
	return e.carryOut(ctx, ops, e.index.follow)
}

// carryOut makes a change in all copies. tell is how the index learns of it.
func (e *engine) carryOut(ctx context.Context, ops []policy.Op, tell teller) error {
	start := time.Now()
	c := edited{ops: ops, tell: tell}
	c.delta, c.undo = e.edit(ops)
	if e.overfull() {
		return errors.Join(errFull, e.takeBack(ctx, c.undo))
	}
	carry := e.saveThenEnforce
	if restricts(ops, c.undo) {
		carry = e.enforceThenSave
	}
	if err := carry(ctx, c); err != nil {
		return err
	}
	e.applied(time.Since(start))
	return nil
}

// edit changes the book alone.
func (e *engine) edit(ops []policy.Op) (policy.Delta, []policy.Op) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.book.Apply(ops)
}

// enforce brings a delta into the kernel. A change that was written to disk is
// carried through even if its caller has gone.
//
// The order keeps the index right at every instant: what it calls clean is in no
// trie that matters yet or any more, and what it drops the tries drop. So puts
// go into the tries first, then the index follows, and then nodes are deleted.
func (e *engine) enforce(ctx context.Context, delta policy.Delta, tell teller) error {
	ctx = context.WithoutCancel(ctx)
	if err := e.putNodes(ctx, delta); err != nil {
		return err
	}
	tell(e.book, delta.Put, delta.Delete)
	return e.kernel.Apply(ctx, policy.Delta{Delete: delta.Delete, FreeLimits: delta.FreeLimits})
}

// enforceTries is enforce for one of many parts of a change, at whose end the
// index is built anew. Until then it answers as before the change.
func (e *engine) enforceTries(ctx context.Context, delta policy.Delta) error {
	ctx = context.WithoutCancel(ctx)
	if err := e.putNodes(ctx, delta); err != nil {
		return err
	}
	return e.kernel.Apply(ctx, policy.Delta{Delete: delta.Delete, FreeLimits: delta.FreeLimits})
}

// putNodes writes the nodes of a delta into the tries, with the limits that they
// refer to, and no more: the index does not know of them yet.
func (e *engine) putNodes(ctx context.Context, delta policy.Delta) error {
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

// takeBack undoes a change in the book and the kernel. In the kernel too where
// the change did not get there: a node that comes back into the book has a new
// drop counter.
func (e *engine) takeBack(ctx context.Context, undo []policy.Op) error {
	delta, _ := e.edit(undo)
	if err := e.enforce(ctx, delta, e.index.follow); err != nil {
		return fmt.Errorf("put the filter back as it was: %w; restart paraxiald", err)
	}
	return nil
}

func (e *engine) overfull() bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.book.LimitsFull() {
		return true
	}
	for _, kind := range []policy.Kind{policy.Block, policy.Allow} {
		for _, family := range policy.Families() {
			if e.book.Size(kind, family) > e.limit {
				return true
			}
		}
	}
	return false
}

// read calls f with the book, which must not be kept.
func (e *engine) read(f func(*policy.Book)) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	f(e.book)
}

// write calls f with the book, to change it alone. The book must not be kept.
func (e *engine) write(f func(*policy.Book)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(e.book)
}

// expireBatch bounds how much is removed at once, so that a mass expiry does not
// hold up an operator's change.
const expireBatch = 2000

// expire removes some of what is past its deadline and returns it. The kernel
// has stopped enforcing it by itself; this is housekeeping.
func (e *engine) expire(ctx context.Context) ([]policy.Entry, error) {
	e.change.Lock()
	defer e.change.Unlock()
	var due []policy.Entry
	e.read(func(b *policy.Book) { due = b.Expired(e.clock.now(), expireBatch) })
	if len(due) == 0 {
		return nil, nil
	}
	ops := make([]policy.Op, len(due))
	for i, entry := range due {
		ops[i] = policy.RemoveOp(entry.Key())
	}
	return due, e.carryOut(ctx, ops, e.index.lapsed)
}
