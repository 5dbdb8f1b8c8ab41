package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/control"
)

// TestSent: the requests that commands send.
func TestSent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "my list (1).txt")
	if err := os.WriteFile(file, []byte("# a list\n192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	one := []string{"192.0.2.1"}
	for _, tt := range []struct {
		args []string
		want any
	}{
		{split("block 192.0.2.1 --for 1h --shadow --force --confirm 60s"),
			control.BlockRequest{Prefixes: one, Action: "shadow", For: "1h", Origin: "cli", Confirm: "60s",
				Force: true}},
		{[]string{"block", "--reason", "a, b", "192.0.2.1"},
			control.BlockRequest{Prefixes: one, Action: "drop", Reason: "a, b", Origin: "cli"}},
		{split("block 192.0.2.1 --limit 1MB/s"),
			control.BlockRequest{Prefixes: one, Action: "limit", Rate: "1MB/s", Origin: "cli"}},
		{split("promote 192.0.2.1"), control.PromoteRequest{Prefixes: one, Origin: "cli"}},
		{split("promote 192.0.2.1 --origin feed:x --force"),
			control.PromoteRequest{Prefixes: one, Origin: "feed:x", Force: true}},
		{split("allow 192.0.2.1 --for 2w --reason x"),
			control.AllowRequest{Prefixes: one, For: "2w", Reason: "x", Origin: "cli"}},
		{split("unblock 192.0.2.1"), control.UnblockRequest{Prefixes: one, Origin: "cli"}},
		{split("unblock 192.0.2.1 --origin detector:syn"),
			control.UnblockRequest{Prefixes: one, Origin: "detector:syn"}},
		{split("unblock --all 192.0.2.1"), control.UnblockRequest{Prefixes: one, All: true}},
		{split("unallow 192.0.2.1"), control.UnallowRequest{Prefixes: one, Origin: "cli"}},
		{split("confirm k7"), control.ConfirmRequest{ID: "k7"}},
		{split("confirm"), control.ConfirmRequest{}},
		{split("import - --for 7d --skip-invalid --force"),
			control.ImportRequest{Origin: "stdin", For: "7d", SkipInvalid: true, Force: true}},
		{[]string{"import", file}, control.ImportRequest{Origin: "my-list-1"}},
		{[]string{"import", file, "--origin", "mine"}, control.ImportRequest{Origin: "mine"}},
	} {
		f := &fake{removed: control.RemoveResult{Removed: []control.Entry{byHand}}}
		got := invoke(t.Context(), serve(t, f), "", tt.args...)
		if got.Code != exitDone {
			t.Errorf("%q: %+v", tt.args, got)
		}
		if diff := cmp.Diff(tt.want, f.asked[0]); diff != "" {
			t.Errorf("%q: -want +got:\n%s", tt.args, diff)
		}
	}
}
