package policy_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
)

// The evidence of an entry stays with it through every change of the book, and no
// other entry gets it.
func TestEvidence(t *testing.T) {
	first, second := block("10.0.0.1/32", policy.Forever), block("10.0.0.1/32", policy.Forever)
	first.Evidence = &policy.Evidence{Detector: "syn", Count: 1, Ports: []uint16{443}}
	second.Evidence = &policy.Evidence{Detector: "syn", Count: 2}
	plain, beside := block("10.0.0.1/32", policy.Forever), block("10.0.0.1/32", policy.Forever)
	beside.Origin = "feed:a"

	b := policy.NewBook(10)
	want := func(when string, entries ...policy.Entry) {
		t.Helper()
		if diff := cmp.Diff(entries, slices.Collect(b.Entries(policy.Block)), comparePrefixes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	b.Load(first)
	want("loaded", first)
	_, undo := b.Apply([]policy.Op{policy.PutOp(second), policy.PutOp(beside)})
	want("replaced", beside, second)
	b.Apply(undo)
	want("taken back", first)
	_, undo = b.Apply([]policy.Op{policy.PutOp(plain)})
	want("put by hand", plain)
	b.Apply(undo)
	_, undo = b.Apply([]policy.Op{policy.RemoveOp(first.Key())})
	want("removed")
	b.Put([]policy.Entry{plain}) // uses the record of the removed entry again
	want("another in its place", plain)
	b.Apply(undo)
	want("back again", first)
	if got, ok := b.Get(first.Key()); !ok || got.Evidence != first.Evidence {
		t.Errorf("Get: %v, %t", got, ok)
	}
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "héllo \\ \"": "héllo \\ \"", "a\nb\x1b[2J": `a\x0ab\x1b[2J`, "\u0085\u202egnp": `\u0085\u202egnp`,
		"\xff\xc3": `\xff\xc3`, "\U000E0041": `\U000e0041`, "\ufffd": `\ufffd`,
	} {
		if got := policy.Visible(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
		if err := policy.ValidReason(policy.Visible(in)); err != nil {
			t.Error(err)
		}
	}
}
