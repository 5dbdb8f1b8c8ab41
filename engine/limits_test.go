package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/policy"
)

// limitKernel is a fakeKernel with limits. It fails the test as soon as a node refers to a limit
// that does not exist.
type limitKernel struct {
	*fakeKernel
	*testing.T
	limits map[uint32]policy.LimitRecord
}

func (k *limitKernel) Apply(ctx context.Context, d policy.Delta) error {
	for _, l := range d.Limits {
		k.limits[l.ID] = l
	}
	k.check("limits written")
	if err := k.fakeKernel.Apply(ctx, d); err != nil {
		return err
	}
	k.check("nodes written")
	for _, id := range d.FreeLimits {
		delete(k.limits, id)
	}
	k.check("limits freed")
	return nil
}

func (k *limitKernel) check(when string) {
	k.Helper()
	for at, v := range k.nodes {
		if v.LimitID == 0 {
			continue
		}
		if _, ok := k.limits[v.LimitID]; !ok {
			k.Fatalf("%s: %s refers to limit %d, which is not there", when, at, v.LimitID)
		}
		for _, s := range k.limits[v.LimitID].Steps {
			if _, ok := k.limits[s.Bucket]; !ok && s.Bucket != 0 {
				k.Fatalf("%s: limit %d refers to bucket %d, which is not there", when, v.LimitID, s.Bucket)
			}
		}
	}
}

func (b *bench) limitTo(origin string, perSecond uint64, prefixes ...string) error {
	var ops []policy.Op
	for _, p := range prefixes {
		op := b.op(p, forever, policy.Limit, perSecond)
		op.Put.Origin = origin
		ops = append(ops, op)
	}
	return b.apply(ops...)
}

func newLimitBench(t *testing.T, limit int) (*bench, *limitKernel) {
	t.Helper()
	b := newBench(t, limit)
	k := &limitKernel{b.kernel, t, map[uint32]policy.LimitRecord{}}
	b.Engine.kernel = k
	return b, k
}

// At every moment of every change, including a failed one that is undone, the kernel has the limits
// that its nodes refer to.
func TestLimitsAreThereFirst(t *testing.T) {
	b, k := newLimitBench(t, 1000)
	for i, step := range []struct {
		do   func() error
		fail int // number of the put at which the kernel fails, counted from 1
	}{
		{func() error { return b.limitTo("cli", 10, "203.0.113.0/24") }, 1},
		{func() error { return b.limitTo("cli", 10, "203.0.113.0/24") }, 0},
		{func() error { return b.limitTo("cli", 20, "203.0.113.1", "203.0.113.2") }, 2},
		{func() error { return b.limitTo("cli", 20, "203.0.113.1", "203.0.113.2") }, 0},
		{func() error { return b.limitTo("other", 5, "203.0.113.1") }, 0},
		{func() error { return b.limitTo("cli", 1, "203.0.113.0/24") }, 1},
		{func() error { return b.limitTo("cli", 1, "203.0.113.0/24") }, 0},
		{func() error { return b.unblock("203.0.113.0/24") }, 0},
		{func() error { return b.block("203.0.113.1") }, 0},
		{func() error { return b.unblock("203.0.113.1") }, 0},
		{func() error { return b.unblock("203.0.113.2") }, 0},
	} {
		if step.fail > 0 {
			b.kernel.room = step.fail - 1
		}
		err := step.do()
		if step.fail > 0 != errors.Is(err, errKernel) {
			t.Fatalf("step %d: %v", i, err)
		}
		b.kernel.room = -1
		for r := range b.book.Entries(policy.Block) {
			if n, _ := b.book.Node(policy.Block, r.Prefix); n.Verdict != k.nodes[nodeKey(n)] {
				t.Fatalf("step %d: %s is %+v, the kernel has %+v", i, r.Prefix, n.Verdict, k.nodes[nodeKey(n)])
			}
		}
	}
	if b.book.Limits() != 0 || len(k.nodes) != 0 {
		t.Errorf("%d limits and %d nodes are left", b.book.Limits(), len(k.nodes))
	}
}

// A limit for which the kernel has no bucket is refused, and nothing is changed.
func TestLimitsRunOut(t *testing.T) {
	b, k := newLimitBench(t, 3)
	for i := range 3 {
		if err := b.limitTo(fmt.Sprint("o", i), 10, "203.0.113.0/24"); err != nil {
			t.Fatal(err)
		}
	}
	before := b.state()
	err := b.limitTo("more", 10, "203.0.113.0/24")
	if !errors.Is(err, ErrFull) {
		t.Errorf("a limit over the capacity: %v", err)
	}
	if after := b.state(); len(after.Book) != 3 || len(after.Stored) != 3 || len(before.Stored) != 3 {
		t.Errorf("the refused limit left something: %+v", after)
	}
	if len(k.limits) != 3 {
		t.Errorf("%d limits in the kernel", len(k.limits))
	}
}

// A start keeps the limits that the kernel holds, and removes those of a crash.
func TestFillAdoptsLimits(t *testing.T) {
	b, k := newLimitBench(t, 1000)
	if err := b.limitTo("cli", 10, "203.0.113.0/24", "203.0.113.9", "2001:db8::/32"); err != nil {
		t.Fatal(err)
	}
	was := map[uint64]uint32{}
	for id, l := range k.limits {
		was[l.Owner] = id
	}
	k.limits[77] = policy.LimitRecord{ID: 77, Owner: 5} // left by a crash
	b.book = policy.NewBook(1000)
	if err := b.Fill(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if len(k.limits) != 3 {
		t.Errorf("%d limits after a start, want 3", len(k.limits))
	}
	for id, l := range k.limits {
		if was[l.Owner] != id || l.Fresh {
			t.Errorf("limit %d of %d is now %d, fresh %t", was[l.Owner], l.Owner, id, l.Fresh)
		}
	}
}

func (k *limitKernel) Nodes(kind policy.Kind) iter.Seq2[policy.Node, error] {
	return func(yield func(policy.Node, error) bool) {
		for at, v := range k.nodes {
			name, prefix, _ := strings.Cut(at, " ")
			n := policy.Node{Kind: kind, Prefix: netip.MustParsePrefix(prefix), Verdict: v}
			if name == kind.String() && !yield(n, nil) {
				return
			}
		}
	}
}

func (k *limitKernel) Limits() iter.Seq[policy.HeldLimit] {
	return func(yield func(policy.HeldLimit) bool) {
		for id, l := range k.limits {
			if !yield(policy.HeldLimit{ID: id, Owner: l.Owner, HitID: l.HitID}) {
				return
			}
		}
	}
}

func (*limitKernel) HitOwners() iter.Seq2[policy.Node, error] {
	return func(func(policy.Node, error) bool) {}
}
