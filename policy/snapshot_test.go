package policy_test

import (
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/paraxial/paraxial/policy"
)

// A snapshot that is read while the book changes must keep its nodes, and the
// verdicts of nodes that were not put since, also of those that were removed. The
// book must change as it does without snapshots.
func TestSnapshot(t *testing.T) {
	w := newWorld(t)
	for range 30 {
		testSnapshot(t, w)
	}
}

func testSnapshot(t *testing.T, w world) {
	book, plain := policy.NewBook(1000), policy.NewBook(1000)
	put := map[string]bool{} // nodes that were put since the snapshot
	apply := func(n int) {
		ops := w.ops(book, n)
		got, _ := book.Apply(ops)
		want, _ := plain.Apply(ops)
		checkSameDelta(t, want, got)
		for _, n := range got.Put {
			put[n.Kind.String()+n.Prefix.String()] = true
		}
	}
	apply(40)
	want := nodesOf(book)
	clear(put)
	older, newer := book.Snapshot(), book.Snapshot()
	var readers [2]sync.WaitGroup
	var read [2][]policy.Node
	for i, s := range []*policy.Snapshot{older, newer} {
		readers[i].Go(func() {
			for range 10 {
				read[i] = nodesOf(s)
			}
		})
	}
	apply(20)
	readers[0].Wait()
	checkSnapshot(t, want, read[0], put)
	book.Release(older)
	book.Release(older)
	apply(20)
	readers[1].Wait()
	checkSnapshot(t, want, read[1], put)
	checkSnapshot(t, want, nodesOf(newer), put)
	book.Release(newer)
	apply(20)
	if diff := cmp.Diff(nodesOf(plain), nodesOf(book), comparePrefixes, ignoreHits); diff != "" {
		t.Fatalf("book (-without a snapshot +with):\n%s", diff)
	}
}

// checkSnapshot compares nodes, but not the verdicts of those that were put since.
func checkSnapshot(t *testing.T, want, got []policy.Node, put map[string]bool) {
	t.Helper()
	comparable := func(all []policy.Node) []policy.Node {
		all = slices.Clone(all)
		for i, n := range all {
			if put[n.Kind.String()+n.Prefix.String()] {
				all[i].Verdict = policy.Verdict{}
			}
		}
		return all
	}
	if diff := cmp.Diff(comparable(want), comparable(got), comparePrefixes); diff != "" {
		t.Fatalf("snapshot (-want +got):\n%s", diff)
	}
}

// checkSameDelta compares the delta of a book without a snapshot with that of one
// with a snapshot. Their counters may differ.
func checkSameDelta(t *testing.T, want, got policy.Delta) {
	t.Helper()
	ignoreLimitHits := cmpopts.IgnoreFields(policy.LimitRecord{}, "HitID")
	diff := cmp.Diff(sortedDelta(want), sortedDelta(got), comparePrefixes, ignoreHits, ignoreLimitHits)
	if diff != "" {
		t.Fatalf("delta (-without a snapshot +with):\n%s", diff)
	}
}

// nodesOf returns all nodes of a book or snapshot.
func nodesOf(b interface {
	SortedNodes(policy.Kind, policy.Family) iter.Seq[policy.Node]
}) []policy.Node {
	var all []policy.Node
	for _, kind := range []policy.Kind{policy.Block, policy.Allow} {
		for _, f := range policy.Families() {
			all = slices.AppendSeq(all, b.SortedNodes(kind, f))
		}
	}
	return all
}

// sortedDelta sorts the deletes, whose order is random.
func sortedDelta(d policy.Delta) policy.Delta {
	slices.SortFunc(d.Delete, func(x, y policy.Node) int {
		return strings.Compare(x.Kind.String()+x.Prefix.String(), y.Kind.String()+y.Prefix.String())
	})
	return d
}
