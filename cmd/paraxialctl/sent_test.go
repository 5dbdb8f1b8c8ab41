package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// samePrefix lets cmp compare prefixes.
var samePrefix = cmp.Comparer(func(x, y netip.Prefix) bool { return x == y })

// TestSent: the requests that commands send.
func TestSent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "my list (1).txt")
	if err := os.WriteFile(file, []byte("# a list\n192.0.2.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const forever = policy.TTLForever
	const day = 24 * time.Hour
	one := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	perSecond := policy.Rate{PerSecond: 1_000_000, Unit: policy.Bytes}
	for _, tt := range []struct {
		args []string
		want any
	}{
		{split("block 192.0.2.1 --for 1h --shadow --force --confirm 60s"),
			control.Block{Prefixes: one, Action: policy.Shadow, For: time.Hour, Origin: "cli", Confirm: time.Minute,
				Force: true}},
		{[]string{"block", "--reason", "a, b", "192.0.2.1"},
			control.Block{Prefixes: one, Action: policy.Drop, For: forever, Reason: "a, b", Origin: "cli"}},
		{split("block 192.0.2.1 --limit 1MB/s"),
			control.Block{Prefixes: one, Action: policy.Limit, Rate: perSecond, For: forever, Origin: "cli"}},
		{split("block 192.0.2.1 --origin fail2ban-sshd --replace"),
			control.Block{Prefixes: one, Action: policy.Drop, For: forever, Origin: "fail2ban-sshd", Replace: true}},
		{split("allow 192.0.2.1 --origin mine --force --replace"),
			control.Allow{Prefixes: one, For: forever, Origin: "mine", Force: true, Replace: true}},
		{split("flush --origin api:7 --yes"), control.Flush{Origin: "api:7"}},
		{split("flush allows -y --origin cli"), control.Flush{Origin: "cli", Kind: policy.Allow}},
		{split("feeds refresh x"), control.FeedCommand{Command: "refresh", Name: "x"}},
		{split("feeds diff x 3"), control.FeedCommand{Command: "diff", Name: "x", Generation: 3}},
		{split("promote 192.0.2.1"), control.Promotion{Prefixes: one, Origin: "cli"}},
		{split("promote 192.0.2.1 --origin feed:x --force"),
			control.Promotion{Prefixes: one, Origin: "feed:x", Force: true}},
		{split("allow 192.0.2.1 --for 2w --reason x"),
			control.Allow{Prefixes: one, For: 14 * day, Reason: "x", Origin: "cli"}},
		{split("unblock 192.0.2.1"), control.Removal{Prefixes: one, Origin: "cli"}},
		{split("unblock 192.0.2.1 --origin detector:syn"), control.Removal{Prefixes: one, Origin: "detector:syn"}},
		{split("unblock --all 192.0.2.1"), control.Removal{Prefixes: one}},
		{split("unallow 192.0.2.1"), control.Removal{Prefixes: one, Origin: "cli"}},
		{split("unallow 192.0.2.1 --origin guard:session --force"),
			control.Removal{Prefixes: one, Origin: "guard:session", Force: true}},
		{split("confirm k7"), control.ConfirmRequest{ID: "k7"}},
		{split("confirm"), control.ConfirmRequest{}},
		{split("import - --for 7d --skip-invalid --force"),
			control.Import{Origin: "stdin", Kind: policy.Block, Action: policy.Drop, For: 7 * day, SkipInvalid: true,
				Force: true}},
		{[]string{"import", file}, control.Import{Origin: "my-list-1", Kind: policy.Block, Action: policy.Drop,
			For: forever}},
		{[]string{"import", file, "--origin", "mine"}, control.Import{Origin: "mine", Kind: policy.Block,
			Action: policy.Drop, For: forever}},
		{split("import - --shadow --accept --wide"), control.Import{Origin: "stdin", Kind: policy.Block,
			Action: policy.Shadow, For: forever, Accept: true, Wide: true}},
		{split("import - --limit 1MB/s --kind block"), control.Import{Origin: "stdin", Kind: policy.Block,
			Action: policy.Limit, Rate: perSecond, For: forever}},
		{split("import - --kind allow --dry-run"), control.Import{Origin: "stdin", Kind: policy.Allow, For: forever,
			DryRun: true}},
	} {
		f := &fake{removed: control.RemoveResult{Removed: []control.Entry{byHand}}}
		got := invoke(t.Context(), serve(t, f), "192.0.2.1\n", tt.args...)
		if got.Code != exitDone {
			t.Errorf("%q: %+v", tt.args, got)
		}
		if diff := cmp.Diff(tt.want, f.asked[0], samePrefix); diff != "" {
			t.Errorf("%q: -want +got:\n%s", tt.args, diff)
		}
	}
}
