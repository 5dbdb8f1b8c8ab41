package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// hosts returns the lines of a list of n addresses.
func hosts(n int) string {
	var list strings.Builder
	for i := range n {
		fmt.Fprintln(&list, ipv4(198, 18, byte(i>>8), byte(i)))
	}
	return list.String()
}

// origin returns the entries of an origin by prefix.
func (h *host) origin(name string) map[string]control.Entry {
	h.Helper()
	found := make(map[string]control.Entry)
	for _, e := range ctlJSON[[]control.Entry](h, "list", "--origin", name) {
		found[e.Prefix] = e
	}
	return found
}

// Each entry of a list ends when the list says, and has the reason that the list says, also after a
// restart. A refresh that only moves the expiries tells so.
func TestImportDetails(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	set := writeFile(t, "add bad 203.0.113.1 timeout 1 comment \"ssh # login; 3 times\"\n"+
		"add bad 203.0.113.2 timeout 7200 comment \"scan\"\nadd bad 203.0.113.3\n")
	got := ctlJSON[control.ImportResult](h, "import", set, "--origin", "bad")
	if got.Added != 3 || got.Renewed != 0 {
		t.Fatalf("import: %+v", got)
	}
	h.within("the entry of a second ends", patience, func() bool { return len(h.origin("bad")) == 2 })
	h.kill()
	h.start()
	entries := h.origin("bad")
	second, third := entries["203.0.113.2/32"], entries["203.0.113.3/32"]
	if second.Reason != "scan" || second.Expires == nil || time.Until(*second.Expires) > 2*time.Hour ||
		third.Reason != "" || third.Expires != nil {
		t.Errorf("entries: %+v", entries)
	}
	if h.dropped(s, "203.0.113.1") || !h.dropped(s, "203.0.113.2") || !h.dropped(s, "203.0.113.3") {
		t.Error("the entry that has ended is the only one that lets packets pass")
	}
	later := writeFile(t, "add bad 203.0.113.2 timeout 86400 comment \"scan\"\nadd bad 203.0.113.3\n")
	got = ctlJSON[control.ImportResult](h, "import", later, "--origin", "bad")
	if got.Unchanged != 2 || got.Renewed != 1 || got.Added+got.Removed != 0 {
		t.Errorf("a refresh: %+v", got)
	}
	r := h.ctl(0, "import", later, "--origin", "bad", "--for", "7d", "--reason", "x")
	if !strings.Contains(r.Stdout, "2 unchanged (2 renewed)") {
		t.Errorf("a refresh with --for: %s", r.Stdout)
	}
	for p, e := range h.origin("bad") {
		if e.Reason != "x" || e.Expires == nil {
			t.Errorf("--for and --reason count before the list: %s is %+v", p, e)
		}
	}
}

// The body that clients sent so far means the same: comments are no reasons.
func TestImportOldBody(t *testing.T) {
	h := newHost(t)
	h.start()
	body := "203.0.113.1 # for=1s reason=x\n203.0.113.2 ; scan\n"
	_, err := h.client().Import(t.Context(), control.ImportRequest{Origin: "old", For: "1h", Reason: "mine"},
		strings.NewReader(body), nil)
	if err != nil {
		t.Fatal(err)
	}
	for p, e := range h.origin("old") {
		if e.Reason != "mine" || e.Expires == nil || time.Until(*e.Expires) < time.Minute {
			t.Errorf("%s: %+v", p, e)
		}
	}
}

// A list can be imported as shadow entries, as limits and as allows.
func TestImportEffects(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	path := writeFile(t, "203.0.113.1\n203.0.113.2\n")
	h.ctl(0, "import", path, "--origin", "feed", "--shadow")
	if h.dropped(s, "203.0.113.1") {
		t.Error("a shadow entry drops")
	}
	h.ctl(0, "import", path, "--origin", "feed", "--limit", "5/s")
	if e := h.origin("feed")["203.0.113.1/32"]; e.Action != policy.Limit.String() || e.Rate != "5/s" {
		t.Errorf("a limit: %+v", e)
	}
	if r := h.ctl(0, "import", path, "--origin", "feed"); !strings.Contains(r.Stdout, "2 unchanged (2 renewed)") {
		t.Errorf("drops in place of limits: %s", r.Stdout)
	}
	if !h.dropped(s, "203.0.113.1") || !h.dropped(s, "203.0.113.2") {
		t.Error("a drop does not drop")
	}
	h.ctl(0, "import", writeFile(t, "203.0.113.2\n0.0.0.0/1\n"), "--origin", "feed", "--kind", "allow")
	if !h.dropped(s, "203.0.113.1") || h.dropped(s, "203.0.113.2") {
		t.Error("an allow of a list does not beat its block, or the wide one is not left out")
	}
	h.ctl(0, "import", writeFile(t, "203.0.113.3\n"), "--origin", "feed", "--kind", "allow")
	if !h.dropped(s, "203.0.113.2") {
		t.Error("the set of allows was not replaced")
	}
}

// held returns the error of an import that must be held.
func (h *host) held(r control.ImportRequest, list string) string {
	h.Helper()
	_, err := h.client().Import(h.Context(), r, strings.NewReader(list), nil)
	e, ok := errors.AsType[*control.Error](err)
	if !ok || e.Code != control.CodeHeld {
		h.Fatalf("an import that must be held: %v", err)
	}
	return e.Message
}

// A list that loses or gains too much is held until it is accepted, and changes nothing. The daemon
// decides, so other clients are bound as well.
func TestImportHeld(t *testing.T) {
	h := newHost(t)
	h.start()
	path := func(n int) string { return writeFile(t, hosts(n)) }
	h.ctl(0, "import", path(1000), "--origin", "feed")
	for _, tt := range []struct {
		list, says string
	}{
		{hosts(499), "of 1000 entries only 499 would be left (import.max_shrink is 50%). It would add 0 entries, " +
			"remove 501 and keep 499"},
		{hosts(3001), "1000 entries would become 3001 (import.max_grow is 3)"},
		{"", "the list has no prefix, and would remove all 1000 entries"},
		{"# only a comment\n", "the list has no prefix"},
		{"127.0.0.1\n", "it would remove all 1000 entries"},
	} {
		if got := h.held(control.ImportRequest{Origin: "feed"}, tt.list); !strings.Contains(got, tt.says) {
			t.Errorf("held, but says %q, not %q", got, tt.says)
		}
	}
	if got := h.held(control.ImportRequest{Origin: "new"}, "127.0.0.1\n"); !strings.Contains(got, "refuses all") {
		t.Errorf("the first list of an origin is refused, and is held, but says %q", got)
	}
	if n := len(h.origin("feed")); n != 1000 {
		t.Fatalf("%d entries after lists that were held", n)
	}
	r := h.ctl(1, "import", path(499), "--origin", "feed")
	if !strings.Contains(r.Stderr, "held") || !strings.Contains(r.Stderr, "--accept") {
		t.Errorf("stderr: %s", r.Stderr)
	}
	dry := h.ctl(1, "import", path(499), "--origin", "feed", "--dry-run", "-o", "json")
	var shown struct {
		Removed, Unchanged int
		Held               []string
	}
	if err := json.Unmarshal([]byte(dry.Stdout), &shown); err != nil || shown.Removed != 501 || len(shown.Held) != 1 {
		t.Errorf("dry run: %+v, %v", shown, err)
	}
	h.ctl(1, "import", path(499), "--origin", "feed", "--force") // force is for the guard
	h.ctl(0, "import", path(500), "--origin", "feed")
	h.ctl(0, "import", path(1500), "--origin", "feed")
	h.ctl(0, "import", path(99), "--origin", "feed", "--accept")
	h.ctl(0, "import", path(1), "--origin", "feed") // a small set is free
	h.ctl(0, "import", path(1000), "--origin", "feed")
	h.ctl(1, "import", writeFile(t, "# nothing\n"), "--origin", "feed", "--accept")
	if n := len(h.origin("feed")); n != 1000 {
		t.Errorf("%d entries at the end", n)
	}
}

// The union of the prefixes of a list is bounded, though each of them is narrow.
func TestImportShare(t *testing.T) {
	h := newHost(t)
	h.start()
	var wide strings.Builder
	for i := range 219 {
		fmt.Fprintln(&wide, netip.PrefixFrom(ipv4(byte(i+1), 0, 0, 0), 8))
	}
	all := wide.String()
	got := h.held(control.ImportRequest{Origin: "feed"}, all)
	if !strings.Contains(got, "of IPv4 (import.max_share is 50%)") {
		t.Errorf("held, but says %q", got)
	}
	var half strings.Builder
	for i := range 8192/2 + 5 {
		fmt.Fprintln(&half, netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20 + byte(i>>8), byte(i)}), 16))
	}
	if got := h.held(control.ImportRequest{Origin: "feed"}, half.String()); !strings.Contains(got, "of 2000::/3") {
		t.Errorf("held, but says %q", got)
	}
	if got := h.held(control.ImportRequest{Origin: "feed", Kind: "allow"}, all); !strings.Contains(got, "of IPv4") {
		t.Errorf("held, but says %q", got)
	}
	if n := len(h.origin("feed")); n != 0 {
		t.Fatalf("%d entries after lists that were held", n)
	}
	shadow := control.ImportRequest{Origin: "feed", Action: "shadow"}
	if r, err := h.client().Import(t.Context(), shadow, strings.NewReader(all), nil); err != nil || r.Added != 219 {
		t.Errorf("shadow entries drop nothing: %+v, %v", r, err)
	}
}

// --wide accepts wide prefixes, and leaves out those that cover what is protected. --force covers that,
// too. Without both, wide prefixes are left out.
func TestImportWide(t *testing.T) {
	path := filepath.Join(t.TempDir(), "paraxiald.yaml")
	h := newHost(t, "--config", writeConfig(t, path, "guard: {never_block: [45.0.0.7/32]}\n"))
	h.start()
	list := "12.0.0.0/7\n44.0.0.0/7\n203.0.113.1\n"
	imported := func(r control.ImportRequest) (refused []string) {
		t.Helper()
		r.Origin = "feed"
		got, err := h.client().Import(t.Context(), r, strings.NewReader(list), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range got.Refused {
			refused = append(refused, l.Message)
		}
		return refused
	}
	for _, tt := range []struct {
		request control.ImportRequest
		want    []string
	}{
		{control.ImportRequest{}, []string{"12.0.0.0/7 is wider than /8", "44.0.0.0/7 is wider than /8"}},
		{control.ImportRequest{Wide: true}, []string{"44.0.0.0/7 covers 45.0.0.7, in never_block"}},
		{control.ImportRequest{Force: true}, nil},
	} {
		if diff := cmp.Diff(tt.want, imported(tt.request)); diff != "" {
			t.Errorf("%+v: refused (-want +got):\n%s", tt.request, diff)
		}
	}
}
