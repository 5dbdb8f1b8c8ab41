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

// A snapshot is read while the book changes: it stays what it was, and the book
// changes as it would without.
func TestSnapshot(t *testing.T) {
	w := newWorld(t)
	for round := range 30 {
		book, plain := policy.NewBook(1000), policy.NewBook(1000)
		apply := func(n int) {
			ops := w.ops(book, n)
			got, _ := book.Apply(ops)
			want, _ := plain.Apply(ops)
			if diff := cmp.Diff(sortedDelta(want), sortedDelta(got), comparePrefixes, ignoreHits, cmpopts.IgnoreFields(policy.LimitRecord{}, "HitID")); diff != "" {
				t.Fatalf("round %d: delta (-without a snapshot +with):\n%s", round, diff)
			}
		}
		apply(40)
		want := nodesOf(book)
		older, newer := book.Snapshot(), book.Snapshot()
		var readers [2]sync.WaitGroup
		for i, s := range []*policy.Snapshot{older, newer} {
			readers[i].Go(func() {
				for range 10 {
					if diff := cmp.Diff(want, nodesOf(s), comparePrefixes); diff != "" {
						t.Errorf("round %d: snapshot (-want +got):\n%s", round, diff)
						return
					}
				}
			})
		}
		apply(20)
		readers[0].Wait()
		book.Release(older)
		book.Release(older)
		apply(20)
		readers[1].Wait()
		if diff := cmp.Diff(want, nodesOf(newer), comparePrefixes); diff != "" {
			t.Fatalf("round %d: snapshot after the changes (-want +got):\n%s", round, diff)
		}
		book.Release(newer)
		apply(20)
		if diff := cmp.Diff(nodesOf(plain), nodesOf(book), comparePrefixes, ignoreHits); diff != "" {
			t.Fatalf("round %d: book (-without a snapshot +with):\n%s", round, diff)
		}
	}
}

// nodesOf returns all nodes of a book or snapshot.
func nodesOf(b interface {
	SortedNodes(policy.Kind, policy.Family) iter.Seq[policy.Node]
}) []policy.Node {
	var all []policy.Node
	for _, kind := range []policy.Kind{policy.Block, policy.Allow} {
		all = append(slices.AppendSeq(all, b.SortedNodes(kind, policy.IPv4)), slices.Collect(b.SortedNodes(kind, policy.IPv6))...)
	}
	return all
}

// sortedDelta leaves out the order of deletes, which is none.
func sortedDelta(d policy.Delta) policy.Delta {
	slices.SortFunc(d.Delete, func(x, y policy.Node) int {
		return strings.Compare(x.Kind.String()+x.Prefix.String(), y.Kind.String()+y.Prefix.String())
	})
	return d
}
