package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// callerKey is the key of a context's value that For sets.
type callerKey struct{}

// For returns a context for the edits of a caller. Callers whose edits wait take
// turns, so that an edit waits for at most one edit of each other caller. Edits
// without a caller are those of the daemon itself. These and root's come before all
// others.
func For(ctx context.Context, caller string) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

func callerOf(ctx context.Context) string {
	caller, _ := ctx.Value(callerKey{}).(string)
	return caller
}

// isFirst reports whether a caller comes before those that are not first: it is root
// or the daemon itself.
func isFirst(caller string) bool { return caller == "" || caller == policy.AuthorRoot }

// queue holds the waiting edits. The edits of one caller are in the order of their
// arrival.
type queue struct {
	mu     sync.Mutex
	first  *edit   // from putBack: comes before all others
	lanes  []*lane // one for each caller with waiting edits, in the order of their turns; see at
	length int
	full   chan struct{} // closed when wanted edits wait; nil unless gather waits
	wanted int
}

// lane holds the waiting edits of one caller.
type lane []*edit

// laneOf returns the index in lanes of a caller's lane, or -1.
func (q *queue) laneOf(caller string) int {
	return slices.IndexFunc(q.lanes, func(l *lane) bool { return (*l)[0].caller == caller })
}

func (q *queue) add(d *edit) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := q.laneOf(d.caller); i >= 0 {
		*q.lanes[i] = append(*q.lanes[i], d)
	} else {
		q.lanes = append(q.lanes, &lane{d})
	}
	q.length++
	if q.full != nil && q.length >= q.wanted {
		close(q.full)
		q.full = nil
	}
}

// gather returns when n edits wait, or after d. The caller has the turn.
func (q *queue) gather(n int, d time.Duration) {
	q.mu.Lock()
	if q.length >= n {
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

// next removes and returns the first edit of the caller whose turn it is, or returns
// nil if no edit waits. The caller's next turn comes after all others'.
//
// With behind, which is an edit of the same group, it also returns nil if the turn is
// not that of a caller who may share the transaction of behind: root does not wait
// until a change of others, which may be large, is made with its own.
func (q *queue) next(behind *edit) *edit {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.length == 0 {
		return nil
	}
	if d := q.first; d != nil {
		q.first = nil
		q.length--
		return d
	}
	at := q.at()
	l := q.lanes[at]
	d := (*l)[0]
	if behind != nil && isFirst(behind.caller) != isFirst(d.caller) {
		return nil
	}
	q.length--
	q.lanes = slices.Delete(q.lanes, at, at+1)
	if *l = (*l)[1:]; len(*l) > 0 {
		q.lanes = append(q.lanes, l)
	}
	return d
}

// firstWaits reports whether an edit of root or of the daemon waits.
func (q *queue) firstWaits() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first != nil {
		return isFirst(q.first.caller)
	}
	return q.length > 0 && isFirst((*q.lanes[q.at()])[0].caller)
}

// at returns the index in lanes of the caller whose turn it is. There is at least one.
func (q *queue) at() int {
	return max(0, slices.IndexFunc(q.lanes, func(l *lane) bool { return isFirst((*l)[0].caller) }))
}

// putBack puts d, which next returned last, back to the front.
func (q *queue) putBack(d *edit) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.first = d
	q.length++
}

// withdraw removes d. It reports false if d is not in the queue any more.
func (q *queue) withdraw(d *edit) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first == d {
		q.first = nil
		q.length--
		return true
	}
	at := q.laneOf(d.caller)
	if at < 0 {
		return false
	}
	l := q.lanes[at]
	i := slices.Index(*l, d)
	if i < 0 {
		return false
	}
	if *l = slices.Delete(*l, i, i+1); len(*l) == 0 {
		q.lanes = slices.Delete(q.lanes, at, at+1)
	}
	q.length--
	return true
}
