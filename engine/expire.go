package engine

import (
	"context"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// How many expired entries are removed at once. An edit waits for one batch at
// most, so the size follows the time that the last batch took.
const (
	leastExpired = 64
	mostExpired  = 16_384
	expireTarget = 10 * time.Millisecond
)

// batch is the size of the next batch of expired entries. The holder of the turn
// uses it.
type batch struct{ size int }

// next returns the size, of which the first is the least.
func (b *batch) next() int { return max(b.size, leastExpired) }

// took adapts the size to the time that n entries took.
func (b *batch) took(n int, d time.Duration) {
	if n < b.next() {
		return // the last of them: says little about a whole batch
	}
	fits := int(float64(n) * expireTarget.Seconds() / max(d.Seconds(), 1e-6))
	b.size = min(max(fits, n/2, leastExpired), 2*n, mostExpired)
}

// Expire removes some of the entries that are past their deadlines and returns
// them, or none if there are none left. The kernel does not enforce them any
// more.
func (e *Engine) Expire(ctx context.Context) ([]policy.Entry, error) {
	e.turn.Lock()
	defer e.turn.Unlock()
	start := time.Now()
	var due []policy.Entry
	e.Read(func(b *policy.Book) { due = b.Expired(e.Now(), e.sweep.next()) })
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
