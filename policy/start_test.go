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
// change, and must keep the counters that the kernel has.
func TestStartEqualsApply(t *testing.T) {
	w := newWorld(t)
	for range 50 {
		grown, k := policy.NewBook(1000), newKernel()
		for range 5 {
			delta, _ := grown.Apply(w.ops(grown, 20))
			k.apply(t, delta)
		}
		loaded, delta := start(grown, k)
		checkLimitsKept(t, delta, k)
		for n := range loaded.Nodes(policy.Block) {
			running, _ := grown.Node(policy.Block, n.Prefix)
			if slices.Contains(delta.FreshHits, n.Verdict.HitID) && running.Verdict.HitID == n.Verdict.HitID {
				t.Fatalf("%s keeps counter %d, which the delta calls fresh", n.Prefix, n.Verdict.HitID)
			}
		}
		entries := everything(grown)
		for n := range loaded.Nodes(policy.Block) {
			want, ok := grown.Node(policy.Block, n.Prefix)
			if !ok {
				t.Fatalf("%s is not in the grown book", n.Prefix)
			}
			if diff := cmp.Diff(want, n, ignoreHits, comparePrefixes); diff != "" {
				t.Fatalf("%s (-grown +loaded):\n%s", n.Prefix, diff)
			}
			owner := wantHit(entries, n.Prefix.Addr())
			if owner.prefix == n.Prefix && want.Verdict.HitID != n.Verdict.HitID {
				t.Fatalf("%s has counter %d, want its own, %d", n.Prefix, n.Verdict.HitID, want.Verdict.HitID)
			}
		}
		if got, want := len(everything(loaded)), len(entries); got != want {
			t.Fatalf("%d entries loaded of %d", got, want)
		}
	}
}

// checkLimitsKept checks that a start writes all limits of the kernel as they are.
func checkLimitsKept(t *testing.T, delta policy.Delta, k kernel) {
	t.Helper()
	if len(delta.Limits) != len(k.limits) || len(delta.FreeLimits) > 0 {
		t.Fatalf("%d limits written and %d freed, the kernel has %d",
			len(delta.Limits), len(delta.FreeLimits), len(k.limits))
	}
	for _, l := range delta.Limits {
		if l != k.limits[l.ID] {
			t.Fatalf("limit %+v, which is in the kernel as %+v", l, k.limits[l.ID])
		}
	}
}

// If the tries are replaced, the new ones are filled from the book, and nodes keep
// their counters.
func TestStartOverNewTries(t *testing.T) {
	w := newWorld(t)
	kept := 0
	for range 50 {
		grown, k := policy.NewBook(1000), newKernel()
		delta, _ := grown.Apply(w.ops(grown, 60))
		k.apply(t, delta)
		old := k.nodes
		k.nodes = newKernel().nodes
		for id, l := range k.limits {
			l.Rate = policy.Rate{} // a start does not read it back, and must write it again
			k.limits[id] = l
		}
		leftover := kernelKey{policy.Block, netip.MustParsePrefix("198.18.0.1/32")} // of a crash
		old[leftover] = policy.Verdict{HitID: 1}

		loaded := policy.NewBook(1000)
		for _, e := range everything(grown) {
			loaded.Load(e)
		}
		loaded.AdoptHits(blockHits(old))
		delta = loaded.Adopt(func(func(policy.Node) bool) {}, k.held())
		for _, kind := range []policy.Kind{policy.Allow, policy.Block} {
			delta.Put = slices.AppendSeq(delta.Put, loaded.Compile(kind))
		}
		k.apply(t, delta)
		checkCompiled(t, loaded, k)
		kept += checkHitsKept(t, loaded, everything(grown), old)
	}
	if kept == 0 {
		t.Error("no counter was kept, so this test has checked nothing")
	}
}

// blockHits yields the block nodes of a kernel with their drop counters alone.
func blockHits(nodes map[kernelKey]policy.Verdict) iter.Seq[policy.Node] {
	return func(yield func(policy.Node) bool) {
		for key, v := range nodes {
			n := policy.Node{Kind: key.kind, Prefix: key.prefix, Verdict: policy.Verdict{HitID: v.HitID}}
			if key.kind == policy.Block && !yield(n) {
				return
			}
		}
	}
}

// checkHitsKept checks that nodes that count for themselves have the counter that
// they had in the old tries. It returns their number.
func checkHitsKept(
	t *testing.T, b *policy.Book, entries []policy.Entry, old map[kernelKey]policy.Verdict,
) (kept int) {
	t.Helper()
	for n := range b.Nodes(policy.Block) {
		if wantHit(entries, n.Prefix.Addr()).prefix != n.Prefix {
			continue
		}
		kept++
		if want := old[kernelKey{policy.Block, n.Prefix}].HitID; n.Verdict.HitID != want {
			t.Fatalf("%s has counter %d, want its own, %d", n.Prefix, n.Verdict.HitID, want)
		}
	}
	return kept
}

// After a start, the tries hold the nodes of the book, whatever they held before.
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
			key := kernelKey{policy.Kind(1 + w.IntN(2)), w.prefix()}
			k.nodes[key] = policy.Verdict{Drop: 7, HitID: uint32(w.IntN(100))}
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

// damageLimits changes every limit in the kernel. Some then look like the limit of
// another entry.
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

// start loads a new book with the entries of another, as at a start of the daemon
// with this kernel.
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

// held yields the limits as a start of the daemon finds them in the kernel.
func (k kernel) held() iter.Seq[policy.HeldLimit] {
	return func(yield func(policy.HeldLimit) bool) {
		for id, l := range k.limits {
			if !yield(policy.HeldLimit{ID: id, Owner: l.Owner, HitID: l.HitID}) {
				return
			}
		}
	}
}

// Put and Remove must do the same as Apply.
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
