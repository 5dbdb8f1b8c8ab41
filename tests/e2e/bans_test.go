package e2e

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/control"
)

// only returns the single block of a prefix by an origin.
func (h *host) only(prefix, origin string) control.Entry {
	h.Helper()
	all := ctlJSON[[]control.Entry](h, "list", "blocks", "--origin", origin)
	all = slices.DeleteFunc(all, func(e control.Entry) bool { return e.Prefix != prefix })
	if len(all) != 1 {
		h.Fatalf("blocks of %s by %s: %+v", prefix, origin, all)
	}
	return all[0]
}

// A second ban from the same origin does not shorten or weaken the first one, and the answer
// says so. With --replace it does.
func TestSecondBanKeepsTheStronger(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	const x, prefix = "198.51.100.7", "198.51.100.7/32"
	h.ctl(0, "block", x, "--reason", "never again")
	for _, second := range [][]string{
		{"--for", "3s"}, {"--shadow"}, {"--limit", "1000000/s"}, {"--shadow", "--for", "1h"},
		{"--for", "1h", "--confirm", "1h"},
	} {
		r := h.ctl(0, append([]string{"block", x}, second...)...)
		if e := h.only(prefix, "cli"); e.Action != "drop" || e.Expires != nil || e.Reason != "never again" ||
			!h.dropped(s, x) {
			t.Errorf("after block %s: %+v", second, e)
		}
		if !strings.Contains(r.Stdout, "stays as it is: blocked 198.51.100.7/32 by origin cli, never expires") ||
			!strings.Contains(r.Stdout, "--replace") {
			t.Errorf("block %s does not say that the first block stays:\n%s", second, r.Stdout)
		}
	}
	kept := ctlJSON[control.ChangeResult](h, "block", x, "--for", "3s")
	if len(kept.Kept) != 1 || len(kept.Entries) != 1 || kept.Entries[0].Expires != nil || kept.ConfirmID != "" {
		t.Errorf("the answer in JSON: %+v", kept)
	}
	preview := ctlJSON[control.PreviewResult](h, "block", x, "--for", "3s", "--dry-run")
	if len(preview.Kept) != 1 {
		t.Errorf("the preview: %+v", preview.Kept)
	}
	replaced := ctlJSON[control.ChangeResult](h, "block", x, "--shadow", "--for", "1h", "--replace")
	if len(replaced.Kept) != 0 || len(replaced.Replaced) != 1 || replaced.Replaced[0].Reason != "never again" ||
		len(replaced.Notes) != 1 {
		t.Errorf("with --replace: %+v", replaced)
	}
	if e := h.only(prefix, "cli"); e.Action != "shadow" || e.Expires == nil || h.dropped(s, x) {
		t.Errorf("after --replace: %+v", e)
	}
	// The stronger action decides, even if it ends earlier.
	h.ctl(0, "block", x, "--for", "1h")
	h.ctl(0, "block", x, "--shadow")
	if e := h.only(prefix, "cli"); e.Action != "drop" || e.Expires == nil {
		t.Errorf("a drop for 1h, then a shadow for ever: %+v", e)
	}
	h.ctl(0, "block", x) // longer
	if e := h.only(prefix, "cli"); e.Action != "drop" || e.Expires != nil {
		t.Errorf("a longer block: %+v", e)
	}
}

// The rule holds for the API, for allows, and for a change that is confirmed later.
func TestSecondBanByOtherWays(t *testing.T) {
	h := newHost(t)
	h.start()
	x := []string{"198.51.100.8"}
	block := func(r control.BlockRequest) control.ChangeResult {
		t.Helper()
		r.Prefixes, r.Origin = x, "tool"
		result, err := h.client().Block(t.Context(), r)
		check(t, err)
		return result
	}
	block(control.BlockRequest{})
	if r := block(control.BlockRequest{For: "1m"}); len(r.Kept) != 1 {
		t.Errorf("a shorter block by the API: %+v", r)
	}
	if e := h.only("198.51.100.8/32", "tool"); e.Expires != nil {
		t.Errorf("the block was shortened: %+v", e)
	}
	pending := block(control.BlockRequest{For: "1h", Confirm: "1h", Replace: true})
	h.kill()
	h.start()
	confirmed := ctlJSON[control.ChangeResult](h, "confirm", pending.ConfirmID)
	if len(pending.Beside) != 1 || pending.Beside[0].Expires != nil || len(confirmed.Beside) != 0 {
		t.Errorf("beside the unconfirmed block: %+v, after the confirmation: %+v", pending.Beside, confirmed.Beside)
	}
	if e := h.only("198.51.100.8/32", "tool"); e.Expires == nil || len(confirmed.Replaced) != 1 {
		t.Errorf("a replacement was confirmed: %+v, %+v", e, confirmed)
	}
	pending = block(control.BlockRequest{For: "2h", Confirm: "1h"})
	block(control.BlockRequest{}) // meanwhile
	if r := ctlJSON[control.ChangeResult](h, "confirm", pending.ConfirmID); len(r.Kept) != 1 {
		t.Errorf("the confirmation of a shorter block: %+v", r)
	}
	if e := h.only("198.51.100.8/32", "tool"); e.Expires != nil {
		t.Errorf("the confirmation shortened the block: %+v", e)
	}

	h.ctl(0, "allow", "198.51.100.9")
	h.ctl(0, "allow", "198.51.100.9", "--for", "2s")
	allows := ctlJSON[[]control.Entry](h, "list", "allows")
	if len(allows) != 1 || allows[0].Expires != nil {
		t.Errorf("a second allow: %+v", allows)
	}

	// An import replaces the set of its origin, and says what ends earlier.
	h.ctl(0, "import", writeFile(t, "198.51.100.8\n"), "--origin", "tool")
	r := h.ctl(0, "import", writeFile(t, "198.51.100.8\n"), "--origin", "tool", "--for", "1h")
	if e := h.only("198.51.100.8/32", "tool"); e.Expires == nil ||
		!strings.Contains(r.Stderr, "the list shortens the time of 1 entry of tool") {
		t.Errorf("an import for 1h: %+v\n%s", e, r.Stderr)
	}
}

// block --origin keeps apart what different scripts block, and flush removes one of them.
func TestOriginsOfScripts(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	const x = "198.51.100.10"
	h.ctl(0, "block", x, "--reason", "court order")
	h.ctl(0, "block", x, "--origin", "long", "--for", "1h")
	h.ctl(0, "block", x, "198.51.100.11", "--origin", "short", "--for", "1h")
	h.ctl(0, "allow", "198.51.100.99", "--origin", "short")
	h.ctl(0, "unblock", x, "--origin", "long")
	if e := h.only(x+"/32", "cli"); e.Expires != nil || e.Reason != "court order" {
		t.Errorf("the block by hand: %+v", e)
	}
	for _, reserved := range []string{"detector:x", "guard:session", "feed:x", "api:4711"} {
		h.ctl(2, "block", x, "--origin", reserved)
		h.ctl(2, "allow", x, "--origin", reserved)
	}
	h.ctl(2, "flush", "--origin", "guard:session")
	h.ctl(2, "flush")
	r := h.ctl(1, "flush", "--origin", "short") // standard input has no answer
	if !strings.Contains(r.Stderr, "Remove 2 blocks and 1 allow of origin short?") || !h.dropped(s, "198.51.100.11") {
		t.Errorf("the question: %s", r.Stderr)
	}
	h.ctl(0, "flush", "blocks", "--origin", "short", "--yes")
	if h.dropped(s, "198.51.100.11") || !h.dropped(s, x) {
		t.Error("flush removed other blocks, or too few")
	}
	if allows := ctlJSON[[]control.Entry](h, "list", "allows"); len(allows) != 1 {
		t.Errorf("flush blocks removed allows: %+v", allows)
	}
	check(t, func() error {
		_, err := h.client().Block(t.Context(), control.BlockRequest{Prefixes: []string{"198.51.100.12"}})
		return err
	}())
	h.ctl(0, "block", "198.51.100.13", "--confirm", "1h")
	for origin, want := range map[string]string{"api:0": "1 block and 0", "cli": "2 blocks and 0",
		"short": "0 blocks and 1"} {
		if r := h.ctl(0, "flush", "--origin", origin, "--yes"); !strings.Contains(r.Stdout, want) {
			t.Errorf("flush --origin %s: %s, want %s", origin, r.Stdout, want)
		}
	}
	if got := ctlJSON[[]control.Entry](h, "list"); len(got) > 0 || h.dropped(s, x) {
		t.Errorf("entries are left: %+v", got)
	}
	h.kill()
	h.start()
	if got := ctlJSON[[]control.Entry](h, "list"); len(got) > 0 {
		t.Errorf("entries came back with a restart: %+v", got)
	}
}

// A large origin is flushed in steps.
func TestFlushManyEntries(t *testing.T) {
	h := newHost(t)
	h.start()
	const n = 25_000
	var list strings.Builder
	for i := range n {
		fmt.Fprintf(&list, "198.18.%d.%d\n", i/256, i%256)
	}
	h.ctl(0, "import", writeFile(t, list.String()), "--origin", "many")
	h.ctl(0, "block", "198.51.100.1")
	r := ctlJSON[control.FlushResult](h, "flush", "--origin", "many", "--yes")
	if r.Blocks != n || r.Allows != 0 {
		t.Errorf("flush: %+v", r)
	}
	if got := ctlJSON[control.Status](h, "status").Blocks; got != 1 {
		t.Errorf("%d blocks are left, want 1", got)
	}
}

// A block inside an allow says that the packets pass, and so does the first line of a dry run.
func TestBlockInsideAllow(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	h.ctl(0, "allow", "198.51.100.0/25")
	r := h.ctl(0, "block", "198.51.100.77")
	if !strings.Contains(r.Stderr,
		"the packets of 198.51.100.77/32 pass all the same: the allow of 198.51.100.0/25 by cli") {
		t.Errorf("block: %s", r.Stderr)
	}
	result := ctlJSON[control.ChangeResult](h, "block", "198.51.100.77", "198.51.100.200")
	if len(result.Allowed) != 1 || result.Allowed[0].Prefix != "198.51.100.77/32" ||
		result.Allowed[0].By.Origin != "cli" {
		t.Errorf("the answer in JSON: %+v", result.Allowed)
	}
	if h.dropped(s, "198.51.100.77") || !h.dropped(s, "198.51.100.200") {
		t.Error("what the answer says is not so")
	}
	r = h.ctl(0, "block", "198.51.100.77", "198.51.100.200", "--dry-run")
	if !strings.HasPrefix(r.Stdout, "Nothing was changed. Would be dropped: 198.51.100.200\n"+
		"Would still PASS, because an allow wins: 198.51.100.77 (by 198.51.100.0/25 of cli)\n") {
		t.Errorf("the dry run: %s", r.Stdout)
	}
	if !strings.Contains(r.Stdout, "Not known: ") || strings.Contains(r.Stdout, "No established connection") {
		t.Errorf("the dry run does not say what it cannot see: %s", r.Stdout)
	}
}

// An allow of much of the address space needs --force, and status and metrics say that it is in
// force.
func TestWideAllow(t *testing.T) {
	h := newHost(t)
	h.daemon.Flags = append(h.daemon.Flags, "--metrics", metricsAddr)
	h.start()
	for _, p := range []string{"0.0.0.0/0", "203.0.113.5/0", "128.0.0.0/1", "192.0.0.0/7", "::/0", "2000::/3",
		"2001::/15"} {
		if r := h.ctl(1, "allow", p); !strings.Contains(r.Stderr, "--force") {
			t.Errorf("allow %s: %s", p, r.Stderr)
		}
	}
	var all []string // that together are 0.0.0.0/0
	for i := range 256 {
		all = append(all, fmt.Sprintf("%d.0.0.0/8", i))
	}
	if r := h.ctl(1, append([]string{"allow"}, all...)...); !strings.Contains(r.Stderr, "--force") {
		t.Errorf("allow of all: %s", r.Stderr)
	}
	half := writeFile(t, strings.Join(all[:128], "\n"))
	for _, dry := range [][]string{nil, {"--dry-run"}} {
		r := h.ctl(1, append([]string{"import", half, "--origin", "all", "--kind", "allow"}, dry...)...)
		if !strings.Contains(r.Stderr, "--wide") {
			t.Errorf("import of all, %v: %s", dry, r.Stderr)
		}
	}
	h.ctl(0, "allow", "10.0.0.0/8", "2001::/16")
	h.warns(false, "filtering is off")
	gauge := func(want string) {
		t.Helper()
		h.within("the metric "+want, patience, func() bool {
			status, body, err := scrape(t.Context(), "")
			check(t, err)
			return status == http.StatusOK && strings.Contains(body, want+"\n")
		})
	}
	gauge(`paraxial_filtering_off_ratio{family="ipv4"} 0`)
	h.ctl(0, "unallow", "10.0.0.0/8", "2001::/16")
	h.ctl(0, "import", half, "--origin", "all", "--kind", "allow", "--wide")
	h.warns(true, "filtering is off for 50% of IPv4: the allow of 0.0.0.0/8 by all")
	gauge(`paraxial_filtering_off_ratio{family="ipv4"} 0.5`)
	h.ctl(0, "flush", "--origin", "all", "--yes")
	h.warns(false, "filtering is off")
	h.ctl(0, "allow", "203.0.113.5/1", "192.0.0.0/3", "--force")
	h.warns(true, "filtering is off for 50% of IPv4: the allow of 128.0.0.0/1 by cli")
	gauge(`paraxial_filtering_off_ratio{family="ipv4"} 0.5`)
	gauge(`paraxial_filtering_off_ratio{family="ipv6"} 0`)
	h.kill()
	h.start()
	h.warns(true, "filtering is off for 50% of IPv4")
	h.ctl(0, "unallow", "128.0.0.0/1", "192.0.0.0/3")
	h.warns(false, "filtering is off")
	gauge(`paraxial_filtering_off_ratio{family="ipv4"} 0`)
}

// Drops of one prefix are counted for one entry, and those from before an entry never are.
func TestDropsOfOnePrefix(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	const x, prefix = "198.51.100.20", "198.51.100.20/32"
	send := func(n int) {
		t.Helper()
		h.arrivals(s, slices.Repeat([]netip.Addr{netip.MustParseAddr(x)}, n))
	}
	drops := func(want map[string]uint64) {
		t.Helper()
		sum, all := uint64(0), uint64(0)
		for origin, n := range want {
			e := h.only(prefix, origin)
			if e.Drops != n {
				t.Errorf("%s has %d drops (%+v), want %d", origin, e.Drops, e, n)
			}
			sum, all = sum+n, all+e.Drops
		}
		if sum != all {
			t.Errorf("the sum is %d, want %d", all, sum)
		}
	}
	h.ctl(0, "block", x)
	send(7)
	h.ctl(0, "block", x, "--for", "1h", "--replace") // the same block, changed
	h.ctl(0, "import", writeFile(t, x+"\n"), "--origin", "feed-a")
	send(4)
	drops(map[string]uint64{"cli": 11, "feed-a": 0})
	if e := h.only(prefix, "feed-a"); e.DropsCountedBy != "cli" {
		t.Errorf("the entry does not say for which one the drops are counted: %+v", e)
	}
	h.kill()
	h.start()
	send(1)
	drops(map[string]uint64{"cli": 12, "feed-a": 0})
	h.ctl(0, "unblock", x)
	send(3)
	drops(map[string]uint64{"feed-a": 3}) // not the drops from before it was alone
	h.ctl(0, "block", x)
	drops(map[string]uint64{"feed-a": 3, "cli": 0})
	h.ctl(0, "flush", "--origin", "feed-a", "--yes")
	send(2)
	drops(map[string]uint64{"cli": 2})
}

// Control characters and bidirectional overrides are refused in reasons, and JSON escapes them.
func TestHiddenCharactersInReasons(t *testing.T) {
	h := newHost(t)
	h.start()
	for _, r := range "\u0080\u009b\u009f\u202e\u2066\u200b\ufeff\U000e0041\u2028" {
		h.ctl(2, "block", "198.51.100.30", "--reason", "a"+string(r)+"b")
		_, err := h.client().Block(t.Context(), control.BlockRequest{
			Prefixes: []string{"198.51.100.30"}, Reason: "a" + string(r) + "b",
		})
		if e, ok := err.(*control.Error); !ok || e.Code != control.CodeInvalidRequest {
			t.Errorf("%U: %v", r, err)
		}
	}
}

// reportsFailedSaves checks that log, status and metrics report a change that could not be saved.
func (h *host) reportsFailedSaves() {
	h.Helper()
	h.warns(true, "the last change could not be saved: ")
	if log := h.run.Log(); !strings.Contains(log,
		"a change could not be saved: commands and lists change nothing") {
		h.Errorf("the log does not report the change that could not be saved:\n%s", log)
	}
	h.within("the metrics of failed saves", patience, func() bool {
		status, body, err := scrape(h.Context(), "")
		check(h.T, err)
		return status == http.StatusOK && strings.Contains(body, "paraxial_save_failing 1\n") &&
			!strings.Contains(body, "paraxial_save_failures_total 0\n")
	})
}
