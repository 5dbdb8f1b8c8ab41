package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/paraxial/paraxial/policy"
)

const member, ofMember = "uid:1000", "api:1000"

// watchedKernel calls put before each delta with puts, with the number of deltas that came before.
type watchedKernel struct {
	*fakeKernel
	deltas int
	put    func(deltas int)
}

func (k *watchedKernel) Apply(ctx context.Context, d policy.Delta) error {
	if len(d.Put) > 0 {
		k.put(k.deltas)
		k.deltas++
	}
	return k.fakeKernel.Apply(ctx, d)
}

func (b *bench) watched(put func(deltas int)) *watchedKernel {
	k := &watchedKernel{fakeKernel: b.kernel, put: put}
	b.Engine.kernel = k
	return k
}

// ofParts returns operations that put n entries of the member's own origin.
func ofParts(n int, e policy.Entry) (ops []policy.Op) {
	for i := range n {
		e.Prefix = entry(fmt.Sprintf("10.0.%d.%d", i>>8, i&255)).Prefix
		e.Origin, e.Author = ofMember, member
		ops = append(ops, policy.PutOp(e))
	}
	return ops
}

// Root and the daemon wait for one part of a member's edit. Members, and edits of the same set, wait
// until it is complete.
func TestFirstGoBetweenParts(t *testing.T) {
	const parts = 5
	same := entry("192.0.2.1")
	same.Origin = ofMember
	for _, tc := range []struct {
		name, caller string
		op           policy.Op
		between      bool
	}{
		{"root", policy.AuthorRoot, policy.PutOp(entry("192.0.2.1")), true},
		{"the daemon", "", policy.PutOp(entry("192.0.2.1")), true},
		{"root allows", policy.AuthorRoot, policy.PutOp(allow("192.0.2.1")), true},
		{"another member", "uid:1001", policy.PutOp(entry("192.0.2.1")), false},
		{"root, of the same set", policy.AuthorRoot, policy.PutOp(same), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, 10_000)
			var other <-chan error
			var order []string
			b.watched(func(n int) {
				if n == 1 { // in the second part
					other = b.edit(For(t.Context(), tc.caller), func(*policy.Book) ([]policy.Op, error) {
						order = append(order, fmt.Sprintf("%s with %d in the kernel", tc.name, len(b.kernel.nodes)))
						return []policy.Op{tc.op}, nil
					})
					b.waiting(1)
				}
			})
			err := b.Edit(For(t.Context(), member), plan(ofParts(parts*partMost, entry("10.0.0.0"))...))
			if err := errors.Join(err, b.result(other)); err != nil {
				t.Fatal(err)
			}
			at := parts * partMost
			if tc.between {
				at = 2 * partMost
			}
			if want := fmt.Sprintf("%s with %d in the kernel", tc.name, at); order[len(order)-1] != want {
				t.Errorf("order %q, want %q at last", order, want)
			}
			b.agree()
			if n := b.book.CountOf(policy.Block, ofMember); n < parts*partMost {
				t.Errorf("the member has %d entries, want %d", n, parts*partMost)
			}
		})
	}
}

// An import of root claims its set between the parts of a member's edit, unless that has the same set.
func TestClaimBetweenParts(t *testing.T) {
	for origin, between := range map[string]bool{"other": true, ofMember: false} {
		b := newBench(t, 10_000)
		s := set{policy.Block, origin}
		var claimed <-chan error
		var release func()
		var mine *claim
		b.watched(func(n int) {
			switch n {
			case 1: // in the second part
				mine = b.claimed[set{policy.Block, ofMember}]
				claimed = started(func() (err error) {
					release, err = b.claim(For(t.Context(), policy.AuthorRoot), s)
					return err
				})
				b.waiting(1)
			case 3:
				if is := b.claimed[s] != nil && b.claimed[s] != mine; is != between {
					t.Errorf("%s: claimed between the parts is %t, want %t", origin, is, between)
				}
			}
		})
		err := b.Edit(For(t.Context(), member), plan(ofParts(5*partMost, entry("10.0.0.0"))...))
		if err := errors.Join(err, b.result(claimed)); err != nil {
			t.Fatal(err)
		}
		if b.claimed[s] == nil || len(b.claimed) != 1 {
			t.Errorf("%s: claims are %v", origin, b.claimed)
		}
		if release(); len(b.claimed) != 0 {
			t.Errorf("%s: claims at the end: %v", origin, b.claimed)
		}
	}
}

// An edit in parts is made as a whole or not at all. What root did meanwhile stays.
func TestPartsFailTogether(t *testing.T) {
	const parts = 4
	for name, tc := range map[string]struct {
		limit  int
		breaks func(b *bench, part int)
		want   error
	}{
		"no room in the book":   {3 * partMost, func(*bench, int) {}, ErrFull},
		"no room in the kernel": {10_000, func(b *bench, part int) { b.kernel.room = 2*partMost + 7 }, errKernel},
		"in the last part": {10_000, func(b *bench, part int) {
			if part == parts { // one delta is root's
				b.kernel.room = partMost - 1
			}
		}, errKernel},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, tc.limit)
			var root <-chan error
			b.watched(func(n int) {
				if n == 0 {
					tc.breaks(b, n)
					root = b.edit(For(t.Context(), policy.AuthorRoot), plan(policy.PutOp(entry("192.0.2.1"))))
					b.waiting(1)
				} else if name == "in the last part" {
					tc.breaks(b, n)
				}
			})
			err := b.Edit(For(t.Context(), member), plan(ofParts(parts*partMost, entry("10.0.0.0"))...))
			if !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if err := b.result(root); err != nil {
				t.Error(err)
			}
			if got := b.agree(); !slices.Equal(got, []string{"192.0.2.1/32"}) {
				t.Errorf("%d entries, want that of root: %.200v", len(got), got)
			}
		})
	}
}

// A failing disk undoes all parts.
func TestPartsFailOnDisk(t *testing.T) {
	b := newBench(t, 10_000)
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	err := b.Edit(For(t.Context(), member), plan(ofParts(3*partMost, entry("10.0.0.0"))...))
	if _, ok := errors.AsType[*SaveError](err); !ok {
		t.Errorf("error %v, want a SaveError", err)
	}
	if c := b.bookAndKernel(); len(c.Book) != 0 || len(c.Kernel) != 0 {
		t.Errorf("the book has %d entries, the kernel %d", len(c.Book), len(c.Kernel))
	}
}

// Only long edits that restrict, of members, go in parts.
func TestWhatGoesInParts(t *testing.T) {
	const n = 2 * partMost
	shadow, limited := entry("10.0.0.0"), entry("10.0.0.0")
	shadow.Action = policy.Shadow
	limited.Action, limited.Rate = policy.Limit, policy.Rate{PerSecond: 1, Unit: policy.Packets}
	for _, tc := range []struct {
		name   string
		caller string
		before []policy.Op
		ops    []policy.Op
		deltas int
	}{
		{"of a member", member, nil, ofParts(n, entry("10.0.0.0")), 2},
		{"shadow entries of a member", member, nil, ofParts(n, shadow), 2},
		{"which extends", member, ofParts(n, shadow), ofParts(n, entry("10.0.0.0")), 2},
		{"of root", policy.AuthorRoot, nil, ofParts(n, entry("10.0.0.0")), 1},
		{"short", member, nil, ofParts(partMost, entry("10.0.0.0")), 1},
		{"allows", member, nil, ofParts(n, allow("10.0.0.0")), 1},
		{"which weakens", member, ofParts(n, entry("10.0.0.0")), ofParts(n, limited), 1},
		{"of two sets", member, nil, append(ofParts(n, shadow), policy.PutOp(entry("192.0.2.1"))), 1},
	} {
		b := newBench(t, 10_000)
		if err := b.apply(tc.before...); err != nil {
			t.Fatal(err)
		}
		k := b.watched(func(int) {})
		if err := b.Edit(For(t.Context(), tc.caller), plan(tc.ops...)); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if k.deltas != tc.deltas {
			t.Errorf("%s: the kernel got %d deltas, want %d", tc.name, k.deltas, tc.deltas)
		}
		b.agree()
	}
}
