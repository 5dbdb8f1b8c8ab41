package engine

import (
	"context"
	"errors"
	"iter"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
)

// mirrorIndex holds the book's verdict on every node it was informed of.
type mirrorIndex struct{ nodes map[string]policy.Verdict }

func (x *mirrorIndex) follow(b *policy.Book, changed ...[]policy.Node) {
	for _, nodes := range changed {
		for _, n := range nodes {
			delete(x.nodes, nodeKey(n))
			if now, ok := b.Node(n.Kind, n.Prefix); ok {
				x.nodes[nodeKey(n)] = now.Verdict
			}
		}
	}
}

func (x *mirrorIndex) lapsed(b *policy.Book, changed ...[]policy.Node) { x.follow(b, changed...) }
func (x *mirrorIndex) hold(*policy.Book)                               {}
func (x *mirrorIndex) renew(*policy.Book)                              {}
func (x *mirrorIndex) build(*policy.Book)                              {}
func (x *mirrorIndex) close()                                          {}

// tracedKernel calls a function before every write.
type tracedKernel struct {
	*fakeKernel
	before func()
}

func (k tracedKernel) Apply(ctx context.Context, d policy.Delta) error {
	if !d.Empty() {
		k.before()
	}
	return k.fakeKernel.Apply(ctx, d)
}

// A step is a change, and whether it restricts.
type step struct {
	name      string
	restricts bool
	change    func(*bench) error
}

const forever = 0

// op puts a block for ttl. A limit gets a rate in packets.
func (b *bench) op(prefix string, ttl time.Duration, a policy.Action, perSecond uint64) policy.Op {
	e := entry(prefix)
	e.Action = a
	if ttl != forever {
		e.Deadline = policy.After(b.Now(), ttl)
	}
	if a == policy.Limit {
		e.Rate = policy.Rate{PerSecond: perSecond, Unit: policy.Packets}
	}
	return policy.PutOp(e)
}

func allow(prefix string) policy.Entry {
	e := entry(prefix)
	e.Kind, e.Action = policy.Allow, policy.NoAction
	return e
}

// steps start from the state of blocked: for an hour, 203.0.113.5 is dropped, .6 shadowed and .12
// limited to 10/s, and 203.0.113.7 is allowed.
func steps() []step {
	block := func(p string, ttl time.Duration, a policy.Action) func(*bench) error {
		return func(b *bench) error { return b.apply(b.op(p, ttl, a, 0)) }
	}
	limit := func(p string, ttl time.Duration, perSecond uint64) func(*bench) error {
		return func(b *bench) error { return b.apply(b.op(p, ttl, policy.Limit, perSecond)) }
	}
	return []step{
		{"limit", true, limit("203.0.113.9", forever, 5)},
		{"limit for longer", true, limit("203.0.113.12", 2*time.Hour, 10)},
		{"limit to drop", true, block("203.0.113.12", time.Hour, policy.Drop)},
		{"shadow to limit", true, limit("203.0.113.6", time.Hour, 5)},
		{"limit for less long", false, limit("203.0.113.12", time.Minute, 10)},
		{"limit of another rate", false, limit("203.0.113.12", time.Hour, 5)},
		{"limit to shadow", false, block("203.0.113.12", 2*time.Hour, policy.Shadow)},
		{"drop to limit", false, limit("203.0.113.5", 2*time.Hour, 5)},
		{"block", true, block("203.0.113.9", forever, policy.Drop)},
		{"block what covers others", true, block("203.0.113.0/24", forever, policy.Drop)},
		{"extend", true, block("203.0.113.5", 2*time.Hour, policy.Drop)},
		{"shadow to drop", true, block("203.0.113.6", time.Hour, policy.Drop)},
		{"unallow", true, func(b *bench) error { return b.apply(policy.RemoveOp(allow("203.0.113.7").Key())) }},
		{"shorten", false, block("203.0.113.5", time.Minute, policy.Drop)},
		{"drop to shadow", false, block("203.0.113.5", 2*time.Hour, policy.Shadow)},
		{"unblock", false, func(b *bench) error { return b.unblock("203.0.113.5") }},
		{"allow", false, func(b *bench) error { return b.apply(policy.PutOp(allow("203.0.113.5"))) }},
		{"part of a list is added, part removed", false, func(b *bench) error {
			_, err := b.importLines("203.0.113.10")
			return err
		}},
	}
}

// blocked returns a bench with entries, and an index that mirrors the book.
func blocked(t *testing.T) (*bench, *mirrorIndex) {
	b := newBench(t, 1000)
	x := &mirrorIndex{nodes: map[string]policy.Verdict{}}
	b.index = x
	if _, err := b.importLines("203.0.113.8"); err != nil {
		t.Fatal(err)
	}
	err := b.apply(policy.PutOp(allow("203.0.113.7")), b.op("203.0.113.5", time.Hour, policy.Drop, 0),
		b.op("203.0.113.12", time.Hour, policy.Limit, 10), b.op("203.0.113.6", time.Hour, policy.Shadow, 0))
	if err != nil {
		t.Fatal(err)
	}
	return b, x
}

// A change that restricts is written to the kernel first, any other to the disk.
// So no packet passes because the disk is slow or fails.
func TestOrder(t *testing.T) {
	for _, s := range steps() {
		t.Run(s.name, func(t *testing.T) {
			b, _ := blocked(t)
			before, wrote := b.state().Stored, false
			b.Engine.kernel = tracedKernel{b.kernel, func() {
				kernelFirst := cmp.Equal(before, b.state().Stored)
				if !wrote && kernelFirst != s.restricts {
					t.Errorf("the kernel came first: %t, want %t", kernelFirst, s.restricts)
				}
				wrote = true
			}}
			if err := s.change(b); err != nil {
				t.Fatal(err)
			}
			if !wrote || cmp.Equal(before, b.state().Stored) {
				t.Error("acknowledged, but not in the kernel and on disk")
			}
		})
	}
}

// If the disk fails, kernel, index and book are as before, in either order.
func TestStoreFailureIsUndone(t *testing.T) {
	for _, s := range steps() {
		t.Run(s.name, func(t *testing.T) {
			b, x := blocked(t)
			before := b.bookAndKernel()
			index := maps.Clone(x.nodes)
			if err := b.store.Close(); err != nil {
				t.Fatal(err)
			}
			err := s.change(b)
			if _, ok := errors.AsType[*SaveError](err); !ok {
				t.Errorf("error %v, want a SaveError", err)
			}
			for name, pair := range map[string][2]map[string]policy.Verdict{
				"book":   {before.Book, b.bookAndKernel().Book},
				"kernel": {before.Kernel, b.kernel.nodes},
				"index":  {index, x.nodes},
			} {
				if diff := cmp.Diff(withoutHits(pair[0]), withoutHits(pair[1])); diff != "" {
					t.Errorf("%s (-before +after):\n%s", name, diff)
				}
			}
			if diff := cmp.Diff(b.bookAndKernel().Book, b.kernel.nodes); diff != "" {
				t.Errorf("book and kernel differ, drop counters included (-book +kernel):\n%s", diff)
			}
		})
	}
}

// withoutHits returns nodes without their drop counters and limits: a node that was removed and
// restored may have others.
func withoutHits(nodes map[string]policy.Verdict) map[string]policy.Verdict {
	same := maps.Clone(nodes)
	for k, v := range same {
		v.HitID, v.LimitID = 0, 0
		same[k] = v
	}
	return same
}

// nodesOf yields the contents of the kernel.
type nodesOf []policy.Node

func (n nodesOf) Nodes(k policy.Kind) iter.Seq2[policy.Node, error] {
	return func(yield func(policy.Node, error) bool) {
		for _, n := range n {
			if n.Kind == k && !yield(n, nil) {
				return
			}
		}
	}
}

func (nodesOf) Limits() iter.Seq[policy.HeldLimit] { return func(func(policy.HeldLimit) bool) {} }

// A daemon that dies between the writes to the kernel and to the disk leaves nodes
// that were not acknowledged. The next start removes them, or restores their
// deadlines.
func TestStartRemovesWhatWasNotSaved(t *testing.T) {
	b, _ := blocked(t)
	saved := maps.Clone(b.kernel.nodes)
	for _, p := range []string{"203.0.113.5", "203.0.113.99"} {
		e := entry(p)
		e.Origin = "died"
		delta, _ := b.change([]policy.Op{policy.PutOp(e)})
		if err := b.enforce(t.Context(), delta, b.index.follow); err != nil {
			t.Fatal(err)
		}
	}
	var left nodesOf
	for _, k := range []policy.Kind{policy.Block, policy.Allow} {
		for n := range b.book.Nodes(k) {
			left = append(left, n)
		}
	}
	b.book = policy.NewBook(1001)
	if err := b.Fill(t.Context(), left); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(withoutHits(saved), withoutHits(b.kernel.nodes)); diff != "" {
		t.Errorf("kernel (-saved +after the start):\n%s", diff)
	}
}

func (nodesOf) HitOwners() iter.Seq2[policy.Node, error] {
	return func(func(policy.Node, error) bool) {}
}
