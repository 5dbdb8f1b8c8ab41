package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/paraxial/paraxial/policy"
)

// set is the confirmed blocks of an origin, or its confirmed allows.
type set struct {
	kind   policy.Kind
	origin string
}

func setOf(k policy.Key) set { return set{k.Kind, k.Origin} }

// claim reserves a set for a call that replaces it in many steps.
// Other edits, except those of the set, are carried out between the steps.
type claim struct {
	ended chan struct{} // closed at the end of the claim
}

// claims are the claims by set. Only the holder of the turn uses them.
type claims map[set]*claim

// errClaimed is the error of an edit of a claimed set.
type errClaimed struct{ *claim }

func (errClaimed) Error() string { return "the set of the origin is being replaced" }

// of returns the claim of the set that an operation changes, or nil.
func (c claims) of(op policy.Op) *claim {
	if op.IsPut() {
		return c.ofKey(op.Put.Key())
	}
	return c.ofKey(op.Remove)
}

func (c claims) ofKey(k policy.Key) *claim {
	if k.Pending != "" {
		return nil
	}
	return c[setOf(k)]
}

// check returns an error if one of the operations changes a claimed set.
func (c claims) check(ops []policy.Op) error {
	if len(c) == 0 {
		return nil
	}
	for _, op := range ops {
		if claimed := c.of(op); claimed != nil {
			return errClaimed{claimed}
		}
	}
	return nil
}

// add enters a claim of a set. If an edit in parts has claimed the set, that is the error.
func (c claims) add(s set, own *claim) error {
	if other := c[s]; other != nil && other != own {
		return errClaimed{other}
	}
	c[s] = own
	return nil
}

// claim waits for other replacements of the sets of an origin, and claims one. release
// ends the claim. The sets of several origins may be claimed at the same time.
func (e *Engine) claim(ctx context.Context, s set) (release func(), err error) {
	if err := e.replacing.take(ctx, s.origin); err != nil {
		return nil, err
	}
	c := &claim{ended: make(chan struct{})}
	if err := e.atTurn(ctx, func() error { return e.claimed.add(s, c) }); err != nil {
		e.replacing.give(s.origin)
		return nil, err
	}
	return func() {
		// It cannot fail: the context does not end, and nothing is changed.
		_ = e.atTurn(context.WithoutCancel(ctx), func() error { delete(e.claimed, s); return nil })
		close(c.ended)
		e.replacing.give(s.origin)
	}, nil
}

// atTurn calls f at the turn of the caller. It is an edit that changes nothing, so root need not wait
// for all that wait for the turn itself. f may be called several times, as the plan of an edit.
func (e *Engine) atTurn(ctx context.Context, f func() error) error {
	plan := func(*policy.Book) ([]policy.Op, error) { return nil, f() }
	return e.edit(ctx, &edit{plan: plan, done: make(chan struct{}), silent: true})
}

// replacements lets one call replace the set of an origin at a time, and one call make
// a large import. Of the calls that wait, those of root and of the daemon come first.
// The others are in the order of their arrival: a user has one import at a time.
type replacements struct {
	mu      sync.Mutex
	taken   map[string]bool // by origin; largeImport is the large import
	waiting []*replacement  // in the order of their arrival
}

// replacement is a call that waits.
type replacement struct {
	origin string
	first  bool
	turn   chan struct{} // closed when it has its turn
}

// largeImport is what a large import takes. No origin has this name.
const largeImport = ""

func newReplacements() *replacements { return &replacements{taken: make(map[string]bool)} }

// take waits for a turn. give ends it.
func (r *replacements) take(ctx context.Context, origin string) error {
	w := &replacement{origin: origin, first: isFirst(callerOf(ctx)), turn: make(chan struct{})}
	r.mu.Lock()
	r.waiting = append(r.waiting, w)
	if !r.taken[origin] {
		r.admit(origin)
	}
	r.mu.Unlock()
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.waiting, w); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	} else {
		r.admit(origin)
	}
	return fmt.Errorf("nothing was changed: gave up waiting for another import: %w", ctx.Err())
}

func (r *replacements) give(origin string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.admit(origin)
}

// admit gives the turn to the call that is next, if one waits.
func (r *replacements) admit(origin string) {
	next := slices.IndexFunc(r.waiting, func(w *replacement) bool { return w.origin == origin && w.first })
	if next < 0 {
		next = slices.IndexFunc(r.waiting, func(w *replacement) bool { return w.origin == origin })
	}
	if next < 0 {
		delete(r.taken, origin)
		return
	}
	r.taken[origin] = true
	close(r.waiting[next].turn)
	r.waiting = slices.Delete(r.waiting, next, next+1)
}
