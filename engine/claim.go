package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/paraxial/paraxial/policy"
)

// claim reserves the set of an origin for a call that replaces it in many steps.
// Other edits, except those of the set, are carried out between the steps.
type claim struct {
	origin string
	ended  chan struct{} // closed at the end of the claim
}

// errClaimed is the error of an edit of a claimed set.
var errClaimed = errors.New("the set of the origin is being replaced")

// has reports whether an operation changes the claimed set.
func (c *claim) has(op policy.Op) bool {
	k := op.Remove
	if op.IsPut() {
		k = op.Put.Key()
	}
	return c.hasKey(k)
}

func (c *claim) hasKey(k policy.Key) bool {
	return c != nil && k.Kind == policy.Block && k.Origin == c.origin && k.Pending == ""
}

// claim waits for other replacements and claims the set of an origin. release ends
// the claim.
func (e *Engine) claim(ctx context.Context, origin string) (release func(), err error) {
	select {
	case e.replacing <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("nothing was changed: gave up waiting for another import: %w", ctx.Err())
	}
	c := &claim{origin: origin, ended: make(chan struct{})}
	e.setClaim(c)
	return func() {
		e.setClaim(nil)
		close(c.ended)
		<-e.replacing
	}, nil
}

func (e *Engine) setClaim(c *claim) {
	e.turn.Lock()
	defer e.turn.Unlock()
	e.claimed = c
}
