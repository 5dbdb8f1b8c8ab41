package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// TestTables: the output for people.
func TestTables(t *testing.T) {
	tests := []struct {
		args string
		fake *fake
		want outcome
	}{
		{"status", &fake{}, outcome{0, lines(
			"paraxiald 1.0.0, pid 42, up 3h",
			"120,430 blocks, 1 allow",
			"",
			"INTERFACE  PROTECTED  MODE    PROGRAM  NOTE",
			"eth0       yes        native  7        -",
			"eth1       NO         -       -        occupied by program 9 (cilium)",
			"The filter looks into tunnels of gre, vxlan:4789.",
			"The filter does not look into these tunnels: wg0 (wireguard), s0 (sit).",
			"warning: clock is not synchronised",
		), ""}},
		{"stats", &fake{}, outcome{0, lines(
			"INTERFACE  REASON      PACKETS  BYTES",
			"eth0       (all)       1,300    91,000",
			"eth0       block       1,000    70,000",
			"eth0       not_listed  300      21,000",
		), ""}},
		{"status --check", &fake{}, outcome{1, lines(
			"clock is not synchronised",
			"eth1 is not protected: occupied by program 9 (cilium)",
		), ""}},
		{"feeds", &fake{}, outcome{0, lines(
			"FEED  STATE    USE    IN FORCE  GENERATION  CHECKED  CHANGED  NOTE",
			"drop  held     block  1,000     4           1h ago   1h ago   it would shrink",
			"new   unknown  allow  0         -           -        -        -",
			"warning: the reporter feeds (user paraxial-feeds) is not there",
		), ""}},
		{"feeds drop", &fake{}, outcome{0, lines(
			"feed      drop, held",
			"list      https://x/ ",
			"use       block, every 6h, ttl 2d",
			"in force  1,000 entries, generation 4",
			"checked   1h ago",
			"changed   1h ago",
			"next      in 5h",
			"held      generation 5 with 100 entries (0 added, 900 removed): it would shrink",
			"note      3 refused",
			"kept      generation 4, 1,000 entries, 1h ago",
		), ""}},
		{"logs", &fake{}, outcome{0, lines(
			"LOG   STATE    LAG    LINES   MATCHED  AMBIGUOUS  NO ADDRESS  LOST BYTES  NOTE",
			"sshd  behind   1m30s  12,345  1,000    2          1           0           own_address: no",
			"web   failing  0s     0       0        0          0           0           permission denied",
			"new   unknown  -      0       0        0          0           0           "+
				"systemctl status paraxial-agent-logs",
		), ""}},
		{"logs sshd", &fake{}, outcome{0, lines(
			"log         sshd, behind",
			"source      journal ssh.service",
			"format      sshd, for login",
			"lag         1m30s, 0 bytes behind",
			"lines       12,345",
			"matched     1,000",
			"successes   3",
			"unread      4 (fit no pattern)",
			"ambiguous   2 (can be held against two addresses)",
			"no address  1 (have a name in its place)",
			"proxied     0",
			"too long    0",
			"refused     5 (own_address: no)",
			"foreign     0",
			"lost        0",
			"gaps        0",
			"lost bytes  0",
		), ""}},
		{"logs none", &fake{}, outcome{1, "",
			"paraxialctl: the configuration has no log none; paraxialctl logs shows all\n"}},
		{"feeds diff drop", &fake{}, outcome{0, lines(
			"generation 4 to 5: 0 added, 1 removed", "-192.0.2.1/32",
		), ""}},
		{"feeds none", &fake{}, outcome{1, "",
			"paraxialctl: the configuration has no feed none; paraxialctl feeds shows all\n"}},
		{"origins", &fake{}, outcome{0, lines(
			"ORIGIN     KIND   ENTRIES  DROPS  CHANGED  GENERATION  LAST EXPIRY",
			"cli        allow  1        -      1h ago   -           never",
			"feed:drop  block  1,000    7      1h ago   4           in 1d23h",
		), ""}},
		{"list", &fake{}, outcome{0, lines(
			"PREFIX           KIND   ACTION          ORIGIN  EXPIRES                 DROPS      AUTHOR    REASON",
			`192.0.2.1/32     block  drop            cli     in 59m30s               1,234,567  uid:1000  ssh `+
				`\x1b[2Jbrute force`,
			"192.0.2.0/24     block  drop            ipsum   never                   ~12        uid:0     -",
			"2001:db8::/32    block  shadow          cli     never                   0          uid:0     -",
			"198.18.0.0/15    block  limit:10Mbit/s  cli     never                   7          uid:0     -",
			"198.51.100.0/24  block  drop            cli     in 1m unless confirmed  0          uid:0     -",
			"203.0.113.7/32   allow  pass            cli     never                   0          uid:0     office",
		), ""}},
		{"list allows --origin nobody", &fake{},
			outcome{0, "PREFIX  KIND  ACTION  ORIGIN  EXPIRES  DROPS  AUTHOR  REASON\n", ""}},
		{"export", &fake{}, outcome{0, lines(
			"192.0.2.1/32\tcli", "192.0.2.0/24\tipsum", "# shadow: 2001:db8::/32\tcli",
			"# limit 10Mbit/s: 198.18.0.0/15\tcli", "# unconfirmed: 198.51.100.0/24\tcli",
		), ""}},
		{"export allows", &fake{}, outcome{0, "203.0.113.7/32\tcli\n", ""}},
		{"export --origin ipsum", &fake{}, outcome{0, "192.0.2.0/24\tipsum\n", ""}},
		{"block 192.0.2.1/24", &fake{}, outcome{0, "blocked 192.0.2.1/32, expires in 59m30s\n",
			"note: 192.0.2.1/24: host bits cleared\n"}},
		{"block 2001:db8::/32 --shadow", &fake{}, outcome{0, "shadowing 2001:db8::/32, never expires\n", ""}},
		{"block 198.18.0.0/15 --limit 10Mbit/s", &fake{},
			outcome{0, "limited to 10Mbit/s: 198.18.0.0/15, never expires\n", ""}},
		{"promote 192.0.2.0/24 --origin ipsum", &fake{},
			outcome{0, "blocked 192.0.2.0/24 (origin ipsum), never expires\n", ""}},
		{"block 198.51.100.0/24 --confirm 60s", &fake{}, outcome{0, lines(
			"blocked 198.51.100.0/24, expires in 1m unless confirmed",
			"",
			"This reverts at 2026-11-23 12:01:00 UTC (in 1m). To keep it:",
			"  paraxialctl confirm k7",
		), ""}},
		{"block 198.51.100.0/24 --confirm 60s", &fake{beside: []control.Entry{permanent}}, outcome{0, lines(
			"not confirmed yet: blocked 198.51.100.0/24, expires in 1m unless confirmed",
			"stays unless you confirm: blocked 198.51.100.0/24, never expires",
			"",
			"Until the confirmation, the stronger of the old and the new block acts.",
			"At 2026-11-23 12:01:00 UTC (in 1m) only the old block is left. To replace it by the new one:",
			"  paraxialctl confirm k7",
		), ""}},
		{"confirm k7", &fake{}, outcome{0, "confirmed 192.0.2.1/32, expires in 59m30s\n", ""}},
		{"allow 203.0.113.7", &fake{}, outcome{0, "allowed 203.0.113.7/32, never expires\n", ""}},
		{"unblock 192.0.2.1", &fake{removed: control.RemoveResult{Removed: []control.Entry{byHand}}},
			outcome{0, "unblocked 192.0.2.1/32 (origin cli)\n", ""}},
		{"unblock 192.0.2.1", &fake{removed: control.RemoveResult{StillBlocked: []control.Entry{byList}}},
			outcome{1, lines(
				"nothing removed: there is no block of origin cli for 192.0.2.1",
				"Still blocked:",
				"  by 192.0.2.0/24  origin ipsum  never expires  -",
				"To lift it:",
				"  paraxialctl unblock 192.0.2.0/24 --origin ipsum",
				"  paraxialctl allow 192.0.2.1    # whatever blocks it",
			), ""}},
		{"unblock --all 192.0.2.1", &fake{}, outcome{1, "nothing removed: there is no block for 192.0.2.1\n", ""}},
		{"unallow 203.0.113.7",
			&fake{removed: control.RemoveResult{Removed: []control.Entry{letPass},
				StillBlocked: []control.Entry{byList}}}, outcome{0, lines(
				"no longer allowed: 203.0.113.7/32 (origin cli)",
				"Blocks that match:",
				"  by 192.0.2.0/24  origin ipsum  never expires  -",
			), ""}},
		{"why 192.0.2.1",
			&fake{why: control.WhyResult{Verdict: "drop", Reason: "block", CheckedBy: "kernel",
				Matched: []control.Entry{byHand, byList}}}, outcome{0, lines(
				"192.0.2.1 is DROPPED.",
				"The packet filter itself was asked; it counts such packets as block.",
				"",
				"2 entries match it:",
				"",
				"  block 192.0.2.1/32",
				"    origin   cli",
				`    reason   ssh \x1b[2Jbrute force`,
				"    author   uid:1000",
				"    created  2026-11-23 11:59:00 UTC, 1m ago",
				"    expires  in 59m30s, at 2026-11-23 12:59:30 UTC",
				"    drops    1,234,567 packets",
				"",
				"  block 192.0.2.0/24",
				"    origin   ipsum",
				"    author   uid:0",
				"    created  2026-11-22 11:00:00 UTC, 1d1h ago",
				"    expires  never",
				"    drops    ~12 packets",
				"",
				"What you can do:",
				"  paraxialctl unblock 192.0.2.1/32 --origin cli",
				"  paraxialctl unblock 192.0.2.0/24 --origin ipsum",
				"  paraxialctl unblock PREFIX --all    # the entries of every origin",
				"  paraxialctl allow 192.0.2.1    # whatever blocks it",
			), ""}},
		{"why 198.18.0.1",
			&fake{why: control.WhyResult{Verdict: "limit", Reason: "under_limit", CheckedBy: "kernel",
				Matched: []control.Entry{slowed}}}, outcome{0, lines(
				"198.18.0.1 is limited: what exceeds the rate is dropped.",
				"The packet filter itself was asked; it counts such packets as under_limit.",
				"",
				"One entry matches it:",
				"",
				"  block 198.18.0.0/15 (limit 10Mbit/s)",
				"    origin   cli",
				"    author   uid:0",
				"    created  2026-11-23 12:00:00 UTC, 0s ago",
				"    expires  never",
				"    drops    7 packets",
				"",
				"What you can do:",
				"  paraxialctl unblock 198.18.0.0/15 --origin cli",
				"  paraxialctl allow 198.18.0.1    # whatever blocks it",
			), ""}},
		{"why 203.0.113.7",
			&fake{why: control.WhyResult{Verdict: "pass", CheckedBy: "model", Disagreement: "the kernel drops it",
				Matched: []control.Entry{letPass, onTrial}}}, outcome{0, lines(
				"203.0.113.7 PASSES: it is allowed, which wins over every block.",
				"This is computed from the entries; the packet filter itself could not be asked.",
				"",
				"WARNING: packet filter and entries disagree: the kernel drops it",
				"This is a defect of Paraxial; please report it.",
				"",
				"2 entries match it:",
				"",
				"  allow 203.0.113.7/32",
				"    origin   cli",
				"    reason   office",
				"    author   uid:0",
				"    created  2026-11-23 12:00:00 UTC, 0s ago",
				"    expires  never",
				"",
				"  block 198.51.100.0/24",
				"    origin   cli",
				"    author   uid:0, who overrode the guard",
				"    created  2026-11-23 12:00:00 UTC, 0s ago",
				"    expires  in 1m unless confirmed (paraxialctl confirm k7)",
				"    drops    0 packets",
				"",
				"What you can do:",
				"  paraxialctl unallow 203.0.113.7/32 --origin cli",
			), ""}},
		{"why 8.8.4.4", &fake{why: control.WhyResult{Verdict: "drop", Reason: "blocked", CheckedBy: "kernel",
			UnseenTunnels: slices.Repeat([]control.Tunnel{{Name: "wg0", Kind: "wireguard"}}, 12)}},
			outcome{0, lines(
				"8.8.4.4 is DROPPED.",
				"The packet filter itself was asked; it counts such packets as blocked.",
				"Packets from it that come through a tunnel pass, because the filter does not look into it:",
				strings.Repeat("wg0 (wireguard), ", 9)+"wg0 (wireguard) and 2 more.",
				"",
				"No entry matches it.",
				"",
				"What you can do:",
				"  paraxialctl block 8.8.4.4",
			), ""}},
		{"why 8.8.8.8", &fake{why: control.WhyResult{Verdict: "pass", Reason: "not_listed", CheckedBy: "kernel"}},
			outcome{0, lines(
				"8.8.8.8 PASSES.",
				"The packet filter itself was asked; it counts such packets as not_listed.",
				"",
				"No entry matches it.",
				"",
				"What you can do:",
				"  paraxialctl block 8.8.8.8",
			), ""}},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			got := invoke(t.Context(), serve(t, tt.fake), "", split(tt.args)...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestJSON: with -o json standard output holds JSON and nothing else, equal to
// what the daemon answered.
func TestJSON(t *testing.T) {
	f := &fake{
		removed: control.RemoveResult{Removed: []control.Entry{byHand}},
		imported: control.ImportResult{Added: 2,
			Refused: []control.RefusedLine{{Prefix: "127.0.0.0/8", Line: 3, Message: "loopback"}}},
		why:       control.WhyResult{Verdict: "drop"},
		top:       []control.TopResult{floods()},
		detectors: watching,
	}
	all := []control.Entry{byHand, byList, inShadow, slowed, onTrial, letPass}
	status, _ := f.Status(t.Context())
	stats, _ := f.Stats(t.Context())
	socket := serve(t, f)
	for args, want := range map[string]any{
		"status -o json":          status,
		"stats -o json":           stats,
		"-o json list":            all,
		"list -o json --origin x": []control.Entry{},
		"export -o json":          all[:5],
		"block ::1 -o json": control.ChangeResult{Entries: []control.Entry{byHand},
			Notes: []string{"192.0.2.1/24: host bits cleared"}},
		"allow ::1 -o json":                          control.ChangeResult{Entries: []control.Entry{letPass}},
		"unblock ::1 -o json":                        f.removed,
		"unallow ::1 -o json":                        f.removed,
		"confirm -o json":                            control.ChangeResult{Entries: []control.Entry{byHand}},
		"detectors -o json":                          f.detectors,
		"top --once -o json":                         f.top[0],
		"top --once -o json --limit 1 --sort source": control.TopResult{Time: noon, Sources: floods().Sources[2:]},
		"why 192.0.2.1 -o json":                      control.WhyResult{Address: "192.0.2.1", Verdict: "drop"},
		"import - --origin list -o json":             f.imported,
	} {
		got := invoke(t.Context(), socket, "192.0.2.1\n", split(args)...)
		wantJSON, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(got.Stdout)); err != nil {
			t.Errorf("%s: %v in %q", args, err, got.Stdout)
		}
		if got.Code != exitDone || got.Stderr != "" || compact.String() != string(wantJSON) {
			t.Errorf("%s: got %+v\nwant %s", args, got, wantJSON)
		}
	}
}

// TestJSONEscapes: a reason of an earlier version may have characters that are refused now.
func TestJSONEscapes(t *testing.T) {
	const escaped = `"a\u007f\u009b2J \u202egnp\udb40\udc41 日本"`
	old := control.Entry{Prefix: "192.0.2.1/32", Reason: "a\x7f\u009b2J \u202egnp\U000E0041 日本"}
	f := &fake{entries: []control.Entry{old}, why: control.WhyResult{Matched: []control.Entry{old}},
		events: []control.Event{{Type: control.EventAdded, Entry: &old}}}
	socket := serve(t, f)
	for _, args := range []string{"list -o json", "why 192.0.2.1 -o json", "watch -o json"} {
		got := invoke(t.Context(), socket, "", split(args)...)
		if !strings.Contains(strings.ReplaceAll(got.Stdout, `": "`, `":"`), `"reason":`+escaped) {
			t.Errorf("%s: got %+v\nwant the reason %s", args, got, escaped)
		}
	}
}

func TestImport(t *testing.T) {
	refused := make([]control.RefusedLine, 12)
	for i := range refused {
		refused[i] = control.RefusedLine{Prefix: fmt.Sprintf("10.%d.0.0/16", i), Line: i + 1,
			Message: "covers this host"}
	}
	invalid := []control.InvalidLine{{Line: 3, Message: `"hello" is not an IPv4 or IPv6 address`}}
	first10 := "Refused:\n"
	for _, r := range refused[:10] {
		first10 += fmt.Sprintf("  %s (line %d): covers this host\n", r.Prefix, r.Line)
	}
	for _, tt := range []struct {
		name, args string
		result     control.ImportResult
		want       outcome
	}{
		{"clean", "import - --origin ipsum", control.ImportResult{Added: 14210, Unchanged: 1000000},
			outcome{0, "ipsum: 14,210 added, 0 removed, 1,000,000 unchanged, 0 refused\n", ""}},
		{"renewed", "import - --origin ipsum", control.ImportResult{Unchanged: 14210, Renewed: 14000},
			outcome{0, "ipsum: 0 added, 0 removed, 14,210 unchanged (14,000 renewed), 0 refused\n", ""}},
		{"refused", "import -", control.ImportResult{Added: 1, Refused: refused},
			outcome{0, "stdin: 1 added, 0 removed, 0 unchanged, 12 refused\n" + first10 + "  and 2 more\n", ""}},
		{"invalid", "import -", control.ImportResult{Invalid: invalid}, outcome{1, "", lines(
			`stdin:3: "hello" is not an IPv4 or IPv6 address`,
			"paraxialctl: stdin: nothing was applied; correct the list or skip such lines with --skip-invalid")}},
		{"skipped", "import - --skip-invalid", control.ImportResult{Added: 2, Invalid: invalid}, outcome{0,
			"stdin: 2 added, 0 removed, 0 unchanged, 0 refused, 1 invalid\n",
			`stdin:3: "hello" is not an IPv4 or IPv6 address` + "\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := invoke(t.Context(), serve(t, &fake{imported: tt.result}), "192.0.2.1\n", split(tt.args)...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestExportImport: import reads the output of export, and blocks nothing more.
func TestExportImport(t *testing.T) {
	f := &fake{}
	socket := serve(t, f)
	exported := invoke(t.Context(), socket, "", "export")
	invoke(t.Context(), socket, exported.Stdout, "import", "-")
	want := []any{control.Import{
		Origin: "stdin", Kind: policy.Block, Action: policy.Drop, For: policy.TTLForever,
	}, "192.0.2.1/32", "192.0.2.0/24"}
	if diff := cmp.Diff(want, f.asked); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

var events = []control.Event{
	{Time: noon, Type: control.EventAdded, Entry: &byHand},
	{Time: noon, Type: control.EventAdded, Entry: &caught},
	{Time: noon, Type: control.EventImported, Import: &control.ImportSummary{Origin: "ipsum", Added: 14210}},
	{Time: noon, Type: control.EventDrop, Packet: &control.Packet{Interface: "eth0", Source: "2001:db8::1",
		Protocol: "tcp", SourcePort: 4242, DestinationPort: 22, Length: 74, Reason: "block"}},
	{Time: noon, Type: control.EventShadow, Packet: &control.Packet{Interface: "eth0", Source: "192.0.2.1",
		Protocol: "gre", Length: 1500, Reason: "shadow"}},
	{Time: noon, Type: control.EventInterface, Interface: &control.InterfaceStatus{Name: "eth0", Note: "device gone"}},
	{Time: noon, Type: control.EventLost, Count: 1000},
}

func TestProgress(t *testing.T) {
	for want, p := range map[string]control.ImportProgress{
		"reading: 1,000 lines": {Read: 1000},
		"applying: [###############...............] 60,215 of 120,430": {Read: 120430, Applied: 60215, Total: 120430},
		"applying: [##############################] 3 of 2":            {Applied: 3, Total: 2},
	} {
		if got := progressText(p); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if bar := newProgress(new(bytes.Buffer), time.Now); bar.w != nil {
		t.Error("draws although the output is not a terminal")
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain 'text' é": "plain 'text' é", "a\nb\tc": `a\nb\tc`, "\x1b[2J": `\x1b[2J`, "a\u202eb": `a\u202eb`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %s, want %s", in, got, want)
		}
	}
}
