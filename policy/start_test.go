package policy_test

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/paraxial/paraxial/policy"
)

// A book filled by Load, Adopt and Compile must equal one that grew change by
// change, and go on with the counters of the kernel it finds.
func TestStartEqualsApply(t *testing.T) {
	w := newWorld(t)
	for range 50 {
		grown, k := policy.NewBook(1000), newKernel()
		for range 5 {
			delta, _ := grown.Apply(w.ops(grown, 20))
			k.apply(t, delta)
		}
		loaded, delta := start(grown, k)
		if len(delta.Limits) != len(k.limits) || len(delta.FreeLimits) > 0 {
			t.Fatalf("%d limits written and %d freed, the kernel has %d", len(delta.Limits), len(delta.FreeLimits), len(k.limits))
		}
		for _, l := range delta.Limits {
			if l != k.limits[l.ID] {
				t.Fatalf("limit %+v, which is in the kernel as %+v", l, k.limits[l.ID])
			}
		}
		for n := range loaded.Nodes(policy.Block) {
			running, _ := grown.Node(policy.Block, n.Prefix)
			if slices.Contains(delta.FreshHits, n.Verdict.HitID) && running.Verdict.HitID == n.Verdict.HitID {
				t.Fatalf("%s goes on with counter %d, which is said to be new", n.Prefix, n.Verdict.HitID)
			}
		}
		entries := everything(grown)
		for n := range loaded.Nodes(policy.Block) {
			want, ok := grown.Node(policy.Block, n.Prefix)
			if !ok {
				t.Fatalf("%s came out of nowhere", n.Prefix)
			}
			if diff := cmp.Diff(want, n, ignoreHits, comparePrefixes); diff != "" {
				t.Fatalf("%s (-grown +loaded):\n%s", n.Prefix, diff)
			}
			if owner := wantHit(nil, entries, n.Prefix.Addr()); owner.prefix == n.Prefix && want.Verdict.HitID != n.Verdict.HitID {
				t.Fatalf("%s has counter %d, its own in the kernel is %d", n.Prefix, n.Verdict.HitID, want.Verdict.HitID)
			}
		}
		if got, want := len(everything(loaded)), len(entries); got != want {
			t.Fatalf("%d entries loaded of %d", got, want)
		}
	}
}

// Where tries are replaced, the new ones are filled from the book, and counters go
// on as if they had been taken over.
func TestStartOverNewTries(t *testing.T) {
	w := newWorld(t)
	kept := 0
	for range 50 {
		grown, k := policy.NewBook(1000), newKernel()
		delta, _ := grown.Apply(w.ops(grown, 60))
		k.apply(t, delta)
		elder := newKernel()
		elder.nodes, k.nodes = k.nodes, elder.nodes
		for id, l := range k.limits {
			l.Rate = policy.Rate{} // what is not read back is written again
			k.limits[id] = l
		}
		elder.nodes[kernelKey{policy.Block, netip.MustParsePrefix("198.18.0.1/32")}] = policy.Verdict{HitID: 1} // what a crash left

		loaded := policy.NewBook(1000)
		for _, e := range everything(grown) {
			loaded.Load(e)
		}
		loaded.AdoptHits(func(yield func(policy.Node) bool) {
			for key, v := range elder.nodes {
				if key.kind == policy.Block && !yield(policy.Node{Kind: key.kind, Prefix: key.prefix, Verdict: policy.Verdict{HitID: v.HitID}}) {
					return
				}
			}
		})
		delta = loaded.Adopt(func(func(policy.Node) bool) {}, k.held())
		for _, kind := range []policy.Kind{policy.Allow, policy.Block} {
			delta.Put = slices.AppendSeq(delta.Put, loaded.Compile(kind))
		}
		k.apply(t, delta)
		checkCompiled(t, loaded, k)
		for n := range loaded.Nodes(policy.Block) {
			was := elder.nodes[kernelKey{policy.Block, n.Prefix}]
			if owner := wantHit(nil, everything(grown), n.Prefix.Addr()); owner.prefix != n.Prefix {
				continue
			}
			if kept++; n.Verdict.HitID != was.HitID {
				t.Fatalf("%s has counter %d, its own was %d", n.Prefix, n.Verdict.HitID, was.HitID)
			}
		}
	}
	if kept == 0 {
		t.Error("no counter was kept, so this test has shown nothing")
	}
}

// Whatever the tries hold at the start, they then hold what the book says.
func TestStartMendsKernel(t *testing.T) {
	w := newWorld(t)
	for range 50 {
		grown, k := policy.NewBook(1000), newKernel()
		delta, _ := grown.Apply(w.ops(grown, 60))
		k.apply(t, delta)
		for key, v := range k.nodes {
			switch w.IntN(4) {
			case 0:
				delete(k.nodes, key)
			case 1:
				v.Drop, v.Allow = v.Drop+1, v.Allow+1
				k.nodes[key] = v
			case 2:
				v.HitID = uint32(w.IntN(100))
				k.nodes[key] = v
			}
		}
		for range 10 {
			k.nodes[kernelKey{policy.Kind(1 + w.IntN(2)), w.prefix()}] = policy.Verdict{Drop: 7, HitID: uint32(w.IntN(100))}
		}
		w.damageLimits(k)
		loaded, delta := start(grown, k)
		k.apply(t, delta)
		checkCompiled(t, loaded, k)
		for _, kind := range []policy.Kind{policy.Block, policy.Allow} {
			for n := range grown.Nodes(kind) {
				got := policy.Node{Kind: kind, Prefix: n.Prefix, Verdict: k.nodes[kernelKey{kind, n.Prefix}]}
				if diff := cmp.Diff(n, got, ignoreHits, comparePrefixes); diff != "" {
					t.Fatalf("%s (-grown +kernel):\n%s", n.Prefix, diff)
				}
			}
		}
	}
}

// damageLimits leaves no limit in the kernel as it was, and some that look like
// another's.
func (w world) damageLimits(k kernel) {
	for _, id := range slices.Sorted(maps.Keys(k.limits)) {
		l := k.limits[id]
		l.Rate, l.Steps = policy.Rate{}, [policy.MaxLimitSteps]policy.LimitStep{{Until: 7, Bucket: 1}}
		k.limits[id] = l
		switch w.IntN(4) {
		case 0:
			delete(k.limits, id)
		case 1:
			l.Owner++
			k.limits[id] = l
		case 2:
			k.limits[500+id] = l
		}
	}
}

// start loads a book with the entries of another, over a kernel.
func start(from *policy.Book, k kernel) (*policy.Book, policy.Delta) {
	b := policy.NewBook(1000)
	for _, e := range everything(from) {
		b.Load(e)
	}
	delta := b.Adopt(func(yield func(policy.Node) bool) {
		for key, v := range k.nodes {
			if !yield(policy.Node{Kind: key.kind, Prefix: key.prefix, Verdict: v}) {
				return
			}
		}
	}, k.held())
	for _, kind := range []policy.Kind{policy.Allow, policy.Block} {
		delta.Put = slices.AppendSeq(delta.Put, b.Compile(kind))
	}
	return b, delta
}

// held is what a start finds of limits.
func (k kernel) held() iter.Seq[policy.HeldLimit] {
	return func(yield func(policy.HeldLimit) bool) {
		for id, l := range k.limits {
			if !yield(policy.HeldLimit{ID: id, Owner: l.Owner, HitID: l.HitID}) {
				return
			}
		}
	}
}

// Put and Remove must do what Apply does.
func TestBulkEqualsApply(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		one, many := policy.NewBook(1000), policy.NewBook(1000)
		k := newKernel()
		for range 10 {
			var ops []policy.Op
			var entries []policy.Entry
			for range 20 {
				e := w.entry()
				entries, ops = append(entries, e), append(ops, policy.PutOp(e))
			}
			one.Apply(ops)
			k.apply(t, many.Put(entries))
			checkCompiled(t, many, k)

			origin := w.entry().Origin
			var refs []policy.EntryRef
			ops = nil
			for r := range many.Origin(policy.Block, origin) {
				if e, ok := many.Resolve(r); ok && w.IntN(2) == 0 {
					refs, ops = append(refs, r), append(ops, policy.RemoveOp(e.Key()))
				}
			}
			one.Apply(ops)
			k.apply(t, many.Remove(refs))
			checkCompiled(t, many, k)
		}
		if diff := cmp.Diff(everything(one), everything(many), comparePrefixes, sortEntries); diff != "" {
			t.Fatalf("entries (-apply +bulk):\n%s", diff)
		}
	}
}

var sortEntries = cmpopts.SortSlices(func(x, y policy.Entry) bool { return fmt.Sprint(x.Key()) < fmt.Sprint(y.Key()) })
