package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/gaissmai/bart"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
)

// neighbours returns, for each sampled prefix, the first address after it that is on no list.
func neighbours(sample, listed []netip.Prefix) []netip.Addr {
	var table bart.Lite
	for _, p := range listed {
		table.Insert(p)
	}
	seen := make(map[netip.Addr]bool)
	var found []netip.Addr
	for _, p := range sample {
		for ok := true; ok; {
			a := last(p).Next()
			if p, ok = table.LookupPrefixLPM(netip.PrefixFrom(a, a.BitLen())); !ok && a.IsValid() && !seen[a] {
				seen[a] = true
				found = append(found, a)
			}
		}
	}
	return found
}

func last(p netip.Prefix) netip.Addr {
	a := p.Addr().As16()
	for bit := p.Bits() + 128 - p.Addr().BitLen(); bit < 128; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	if p.Addr().Is4() {
		return netip.AddrFrom16(a).Unmap()
	}
	return netip.AddrFrom16(a)
}

func everyNth[T any](list []T, n int) []T {
	var some []T
	for i := 0; i < len(list); i += n {
		some = append(some, list[i])
	}
	return some
}

func addresses(prefixes []netip.Prefix) []netip.Addr {
	var list []netip.Addr
	for _, p := range prefixes {
		list = append(list, p.Addr())
	}
	return list
}

// A real block list: listed addresses are dropped on the wire, and their neighbours pass.
func TestBlockListOnTheWire(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	path, prefixes := list(t, "ipsum.txt")
	got := ctlJSON[control.ImportResult](h, "import", path)
	want := control.ImportResult{Added: len(prefixes), Coverage: got.Coverage}
	if !cmp.Equal(want, got, cmpopts.EquateEmpty()) {
		t.Fatalf("import (-want +got):\n%s", cmp.Diff(want, got))
	}
	checkWire(h, s, everyNth(prefixes, 10), prefixes)
}

// Cloud ranges: prefixes of many lengths, and IPv6.
func TestCloudRangesOnTheWire(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	path, prefixes := list(t, "clouds.txt")
	got := ctlJSON[control.ImportResult](h, "import", path, "--origin", "clouds")
	if got.Added == 0 || len(got.Refused)+len(got.Invalid) > 0 {
		t.Fatalf("import: %+v", got)
	}
	checkWire(h, s, everyNth(prefixes, 3), prefixes)
}

func checkWire(h *host, s *lab.Server, sample, listed []netip.Prefix) {
	h.Helper()
	blocked := addresses(sample)
	arrived := h.arrivals(s, blocked)
	if len(arrived) > 0 {
		h.Errorf("%d of %d listed sources got through: %.200v", len(arrived), len(blocked), arrived)
	}
	free := neighbours(sample, listed)
	arrived = h.arrivals(s, free)
	for _, src := range free {
		if arrived[src] != 1 {
			h.Errorf("%d datagrams of the unlisted neighbour %s arrived, want 1", arrived[src], src)
		}
	}
	h.Logf("%d listed sources dropped, %d neighbours passed", len(blocked), len(free))
	if stats := ctlJSON[control.Stats](h,
		"stats"); stats.Interfaces[0].Reasons["blocked"].Packets != uint64(len(blocked)) {
		h.Errorf("%d packets counted as blocked, %d were sent", stats.Interfaces[0].Reasons["blocked"].Packets,
			len(blocked))
	}
}

// A second import replaces the entries of that origin and of no other.
func TestImportReplaces(t *testing.T) {
	h := newHost(t)
	h.start()
	h.ctl(0, "block", "203.0.113.1")
	imported := func(content string, args ...string) control.ImportResult {
		t.Helper()
		return ctlJSON[control.ImportResult](h, append([]string{"import", writeFile(t, content), "--origin", "feed"},
			args...)...)
	}
	want := func(step string, got control.ImportResult, added, removed, unchanged int) {
		t.Helper()
		if got.Added != added || got.Removed != removed || got.Unchanged != unchanged {
			t.Errorf("%s: %d added, %d removed, %d unchanged; want %d, %d, %d", step, got.Added, got.Removed,
				got.Unchanged, added, removed, unchanged)
		}
	}
	want("first", imported("203.0.113.1\n203.0.113.2\n203.0.113.3\n"), 3, 0, 0)
	want("again", imported("203.0.113.1\n203.0.113.2\n203.0.113.3\n"), 0, 0, 3)
	want("changed", imported("203.0.113.2\n203.0.113.4/32\n203.0.113.2 # twice\n"), 1, 2, 1)

	// A large list takes another path: it is staged on disk and switched at the end.
	var large strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&large, "198.18.%d.%d\n", i/256, i%256)
	}
	want("large", imported(large.String()), 30_000, 2, 0)
	want("large again", imported(large.String(), "--for", "1h"), 0, 0, 30_000)
	if e := ctlJSON[[]control.Entry](h, "list", "--origin", "feed"); len(e) != 30_000 || e[0].Expires == nil {
		t.Errorf("%d entries, the first expires %v; want 30000 with an expiry", len(e), e[0].Expires)
	}
	want("small", imported("203.0.113.2\n", "--accept"), 1, 30_000, 0)
	if status := ctlJSON[control.Status](h, "status"); status.Blocks != 2 {
		t.Errorf("%d blocks, want the one by hand and the one of the list", status.Blocks)
	}
	if w := ctlJSON[control.WhyResult](h, "why", "203.0.113.1"); w.Verdict != "drop" || w.Matched[0].Origin != "cli" {
		t.Errorf("the import touched the block made by hand: %+v", w)
	}
	if w := ctlJSON[control.WhyResult](h, "why", "198.18.0.1"); w.Verdict != "pass" || w.Disagreement != "" {
		t.Errorf("an entry that left the list: %+v", w)
	}
	h.kill()
	h.start()
	if status := ctlJSON[control.Status](h, "status"); status.Blocks != 2 {
		t.Errorf("%d blocks after a restart, want 2", status.Blocks)
	}
}

// The error names the bad line, and nothing is applied.
func TestImportBadList(t *testing.T) {
	h := newHost(t)
	h.start()
	path := writeFile(t, "203.0.113.1\n# fine\nnonsense\n203.0.113.0/33\n")
	r := h.ctl(1, "import", path, "--origin", "feed")
	for _, want := range []string{path + ":3", path + ":4"} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("stderr does not name %s:\n%s", want, r.Stderr)
		}
	}
	if status := ctlJSON[control.Status](h, "status"); status.Blocks != 0 {
		t.Errorf("%d blocks applied of a bad list", status.Blocks)
	}
	if got := ctlJSON[control.ImportResult](h, "import", path, "--origin", "feed", "--skip-invalid"); got.Added != 1 ||
		len(got.Invalid) != 2 {
		t.Errorf("with --skip-invalid: %+v", got)
	}
	junk := make([]byte, 1<<20)
	for i := range junk {
		junk[i] = byte(i * 7)
	}
	h.ctl(1, "import", writeFile(t, string(junk)), "--origin", "junk")
	if e := ctlJSON[[]control.Entry](h, "list", "--origin", "junk"); len(e) != 0 {
		t.Errorf("a binary file made %d entries", len(e))
	}
}

// Public lists contain bogons: entries that the guard refuses are left out and listed, the rest is
// applied.
func TestImportBogons(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	own := netip.PrefixFrom(h.wire.Addr4(), 8).Masked().String()
	got := ctlJSON[control.ImportResult](h, "import", writeFile(t,
		"127.0.0.0/8\n203.0.113.1\n"+own+"\n0.0.0.0/0\nfe80::/64\n"), "--origin", "bogons")
	if got.Added != 1 || len(got.Refused) != 4 || got.Refused[0].Line != 1 || got.Refused[0].Prefix != "127.0.0.0/8" {
		t.Errorf("import: %+v", got)
	}
	if !h.dropped(s, "203.0.113.1") || h.dropped(s, "198.51.100.1") {
		t.Error("the rest of the list is not in force")
	}
}
