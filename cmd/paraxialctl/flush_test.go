package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/control"
)

// TestFlush: without --yes, nothing is removed before a yes to a question with the numbers.
func TestFlush(t *testing.T) {
	const question = "Remove 1,200 blocks and 3 allows of origin feed? [y/N] "
	const refused = "\nparaxialctl: nothing was removed; to remove the entries without a question, add --yes\n"
	const removed = "feed: 1,200 blocks and 3 allows removed\n"
	ask, do := control.Flush{Origin: "feed", DryRun: true}, control.Flush{Origin: "feed"}
	for _, tt := range []struct {
		args, stdin string
		want        outcome
		asked       []any
	}{
		{"flush --origin feed", "y\n", outcome{0, removed, question}, []any{ask, do}},
		{"flush --origin feed", "YES\n", outcome{0, removed, question}, []any{ask, do}},
		{"flush --origin feed", "n\n", outcome{1, "", question + refused}, []any{ask}},
		{"flush --origin feed", "", outcome{1, "", question + refused}, []any{ask}},
		{"flush --origin feed --yes", "", outcome{0, removed, ""}, []any{do}},
	} {
		f := &fake{}
		if diff := cmp.Diff(tt.want, invoke(t.Context(), serve(t, f), tt.stdin, split(tt.args)...)); diff != "" {
			t.Errorf("%s, answered %q: -want +got:\n%s", tt.args, tt.stdin, diff)
		}
		if diff := cmp.Diff(tt.asked, f.asked); diff != "" {
			t.Errorf("%s, answered %q: -want +got:\n%s", tt.args, tt.stdin, diff)
		}
	}
}
