package engine

import (
	"context"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// Expired entries are removed in batches of leastExpired to mostExpired. The size
// is adapted so that a batch takes expireTarget, because an edit may have to wait
// for one batch.
const (
	leastExpired = 64
	mostExpired  = 16_384
	expireTarget = 10 * time.Millisecond
)

// batch is the size of the next batch of expired entries. Only the holder of the
// turn uses it.
type batch struct{ size int }

// next returns the size of the next batch. The first one has leastExpired.
func (b *batch) next() int { return max(b.size, leastExpired) }

// took adapts the size to the time that n entries took.
func (b *batch) took(n int, d time.Duration) {
	if n < b.next() {
		return // the last batch is not full, so its time does not apply to a full one
	}
	fits := int(float64(n) * expireTarget.Seconds() / max(d.Seconds(), 1e-6))
	b.size = min(max(fits, n/2, leastExpired), 2*n, mostExpired)
}

// Expire removes one batch of entries whose deadlines have passed, and returns
// them. It returns none if there are none left. The kernel had already stopped to
// enforce them.
func (e *Engine) Expire(ctx context.Context) ([]policy.Entry, error) {
	e.turn.Lock()
	defer e.turn.Unlock()
	start := time.Now()
	var due []policy.Entry
	e.Read(func(b *policy.Book) { due = b.Expired(e.Now(), e.sweep.next()) })
	due = slices.DeleteFunc(due, func(entry policy.Entry) bool { return e.claimed.ofKey(entry.Key()) != nil })
	if len(due) == 0 {
		return nil, nil
	}
	ops := make([]policy.Op, len(due))
	for i, entry := range due {
		ops[i] = policy.RemoveOp(entry.Key())
	}
	c := edited{ops: ops, tell: e.index.lapsed}
	c.delta, c.undo = e.change(ops)
	err := e.carryOut(ctx, c, false)
	e.observe(time.Since(start))
	e.sweep.took(len(due), time.Since(start))
	return due, err
}
