package engine

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// The size of a batch of expired entries follows the time that the last one took.
func TestExpireBatchAdapts(t *testing.T) {
	var b batch
	for range 20 {
		b.took(b.next(), 100*time.Microsecond)
	}
	if b.next() != mostExpired {
		t.Errorf("on a fast disk: %d, want %d", b.next(), mostExpired)
	}
	for range 20 {
		b.took(b.next(), time.Second)
	}
	if b.next() != leastExpired {
		t.Errorf("on a slow disk: %d, want %d", b.next(), leastExpired)
	}
	b.took(leastExpired-1, time.Nanosecond)
	if b.next() != leastExpired {
		t.Errorf("after a partial batch: %d, want %d", b.next(), leastExpired)
	}
}

// deletingKernel calls a function before every delta with deletions.
type deletingKernel struct {
	*fakeKernel
	before func()
}

func (k deletingKernel) Apply(ctx context.Context, d policy.Delta) error {
	if len(d.Delete) > 0 {
		k.before()
	}
	return k.fakeKernel.Apply(ctx, d)
}

// An edit that arrives while many entries expire waits for the current batch only.
func TestEditDuringMassExpiry(t *testing.T) {
	b := newBench(t, 100_000)
	const expired = 10_000
	var ops []policy.Op
	for a := netip.MustParseAddr("198.18.0.0"); len(ops) < expired; a = a.Next() {
		e := entry(a.String())
		e.Deadline = 1 // long past
		ops = append(ops, policy.PutOp(e))
	}
	if err := b.apply(ops...); err != nil {
		t.Fatal(err)
	}
	var edit <-chan error
	b.Engine.kernel = deletingKernel{b.kernel, func() {
		edit = b.edit(t.Context(), plan(policy.PutOp(entry(fmt.Sprintf("203.0.113.%d", len(b.kernel.nodes)&255)))))
		b.waiting(1)
	}}
	batches, left := 0, expired
	for ; left > 0; batches++ {
		done, err := b.Expire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		left -= len(done)
		// The next batch begins after this.
		if err := b.result(edit); err != nil {
			t.Fatal(err)
		}
	}
	// The first batch has 64 entries, and each further one at most twice as many.
	if batches < 7 {
		t.Errorf("the entries expired in %d batches, want 7 or more", batches)
	}
	if b.sweep.size == 0 {
		t.Error("the size of the batches is not adapted")
	}
	if done, err := b.Expire(t.Context()); len(done) > 0 || err != nil {
		t.Errorf("%d entries expired later, error %v", len(done), err)
	}
	b.agree()
}
