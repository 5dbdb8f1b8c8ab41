package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// TestImportSends: the daemon gets the prefixes that the list means, and for how long.
func TestImportSends(t *testing.T) {
	for _, tt := range []struct {
		name, args, text string
		ttl              string // forever if empty
		want             []any
		stderr           string
	}{
		{"range", "", "192.0.2.0-192.0.2.4\n", "", []any{"192.0.2.0/30", "192.0.2.4/32"}, ""},
		{"several", "", "192.0.2.1 192.0.2.2 192.0.2.3\n", "", []any{"192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"},
			""},
		{"merged", "--aggregate", "192.0.2.1\n192.0.2.0\n192.0.2.1\n::/1\n", "", []any{"192.0.2.0/31", "::/1"}, ""},
		{"named", "--format ranges", "192.0.2.0 192.0.2.3\n", "", []any{"192.0.2.0/30"},
			"note: read as ranges, 1 prefix\n"},
		{"selected", "--column b --select c=x,c=z", "a,b,c\n192.0.2.1,192.0.2.2,x\n192.0.2.1,192.0.2.3,y\n", "",
			[]any{"192.0.2.2/32"}, "note: read as CSV, 1 prefix\n" +
				"note: 1 records are left out: they are not selected, or block nothing\n"},
		{"expiry and reason", "", "add a 192.0.2.1 timeout 60 comment \"a # b\"\nadd a 192.0.2.2 timeout 90\nadd a " +
			"::1\n", "",
			[]any{`192.0.2.1/32 1m0s "a # b"`, `192.0.2.2/32 1m30s ""`, "::1/128"},
			"note: read as ipset, 3 prefixes\nnote: 2 entries expire when the list says\n"},
		{"own expiry", "--for 1h", "add a 192.0.2.1 timeout 60 comment x\n", "1h", []any{`192.0.2.1/32 0s "x"`},
			"note: read as ipset, 1 prefix\n"},
		{"own reason", "--reason y", "add a 192.0.2.1 timeout 60 comment x\n", "", []any{`192.0.2.1/32 1m0s ""`},
			"note: read as ipset, 1 prefix\nnote: 1 entry expires when the list says\n"},
		{"comments", "", "192.0.2.1 # x\n192.0.2.2 # \u202ey\n", "",
			[]any{`192.0.2.1/32 0s "x"`, `192.0.2.2/32 0s "?y"`}, ""},
		{"merged by expiry and reason", "--aggregate", "add a 192.0.2.0 timeout 60\nadd a 192.0.2.1 timeout 60\n" +
			"add a 192.0.2.2 timeout 90\nadd a 192.0.2.3 timeout 90 comment x\nadd a 192.0.2.4\n", "",
			[]any{`192.0.2.0/31 1m0s ""`, `192.0.2.2/32 1m30s ""`, `192.0.2.3/32 1m30s "x"`, "192.0.2.4/32"},
			"note: read as ipset, 5 prefixes\nnote: 4 entries expire when the list says\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{}
			got := invoke(t.Context(), serve(t, f), tt.text, append(split("import -"), split(tt.args)...)...)
			req := control.Import{
				Origin: "stdin", Kind: policy.Block, Action: policy.Drop, For: policy.TTLForever,
			}
			if strings.Contains(tt.args, "--reason y") {
				req.Reason = "y"
			}
			if tt.ttl != "" {
				req.For, _ = policy.ParseTTL(tt.ttl)
			}
			if diff := cmp.Diff(append([]any{req}, tt.want...), f.asked); diff != "" || got.Code != exitDone {
				t.Errorf("%+v, -want +got:\n%s", got, diff)
			}
			if diff := cmp.Diff(tt.stderr, got.Stderr); diff != "" {
				t.Errorf("stderr, -want +got:\n%s", diff)
			}
		})
	}
}

// TestImportLines: refused and spared lines have the numbers of the file, not of what
// was sent.
func TestImportLines(t *testing.T) {
	f := &fake{imported: control.ImportResult{Added: 1,
		Refused: []control.RefusedLine{{Prefix: "192.0.2.4/32", Line: 3, Message: "why"}},
		Spared:  []control.SparedLine{{Prefix: "192.0.2.8/32", Line: 4, Addresses: []string{"192.0.2.8"}}}}}
	got := invoke(t.Context(), serve(t, f), "# c\n\n192.0.2.0-192.0.2.4\nx.example\n192.0.2.0-192.0.2.2\n192.0.2.8\n",
		"import", "-", "--skip-invalid")
	want := outcome{exitDone, "stdin: 1 added, 0 removed, 0 unchanged, 1 refused, 1 invalid\n" +
		"1 prefix(es) cover sessions that are open now. These addresses are spared as long as they last:\n" +
		"  192.0.2.8/32 (line 5): 192.0.2.8\nRefused:\n  192.0.2.4/32 (line 5): why\n",
		`stdin:4: "x.example" is a host name; names are not resolved, so list its addresses` + "\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestImportNotUnderstood: nothing is sent, the first lines are shown, and the count is
// true.
func TestImportNotUnderstood(t *testing.T) {
	for _, tt := range []struct {
		text  string
		args  string
		lines int
		says  string
	}{
		{strings.Repeat("x y z\n", 5000), "", 11, "  and 4,990 more\nparaxialctl: stdin: nothing was applied; " +
			"5,000 of its lines are not understood as plain list: choose another --format, or correct the list\n"},
		{strings.Repeat("x y z\n", 5000), "--skip-invalid", 11, "  and 4,990 more\n"},
		{"192.0.2.1\n192.0.2.2\n192.0.2.3\nx\n", "", 2, "skip such lines with --skip-invalid\n"},
	} {
		f := &fake{}
		got := invoke(t.Context(), serve(t, f), tt.text, append(split("import -"), split(tt.args)...)...)
		if got.Code != exitFailed || got.Stdout != "" || len(f.asked) > 0 || !strings.Contains(got.Stderr, tt.says) ||
			strings.Count(got.Stderr, "stdin:") != tt.lines {
			t.Errorf("got %+v, sent %v, want %q", got, f.asked, tt.says)
		}
	}
}

func TestImportURL(t *testing.T) {
	f := &fake{}
	got := invoke(t.Context(), serve(t, f), "", "import", "https://example.com/x.txt")
	if got.Code != exitUsage || !strings.Contains(got.Stderr,
		"curl -fsSL https://example.com/x.txt | paraxialctl import -") {
		t.Errorf("got %+v", got)
	}
}

// TestImportReasons: a list with more reasons than the daemon takes is sent without them.
func TestImportReasons(t *testing.T) {
	var list strings.Builder
	for i := range policy.MaxListReasons + 1 {
		fmt.Fprintf(&list, "%s # %d\n", netip.AddrFrom4([4]byte{192, byte(i >> 16), byte(i >> 8), byte(i)}), i)
	}
	f := &fake{}
	got := invoke(t.Context(), serve(t, f), list.String(), split("import -")...)
	if !strings.Contains(got.Stderr, "the reasons of the list are left out") ||
		f.asked[len(f.asked)-1] != "192.1.0.0/32" {
		t.Errorf("%+v, last line %v", got, f.asked[len(f.asked)-1])
	}
}

func TestImportDryRun(t *testing.T) {
	result := control.ImportResult{Added: 1, Removed: 1, Unchanged: 2, Renewed: 1,
		Refused:  []control.RefusedLine{{Prefix: "203.0.113.0/24", Line: 2, Message: "why"}},
		Held:     []string{"it is large"},
		Coverage: control.Coverage{IPv4: 0.75, IPv6: 0.5}}
	const text = "Nothing was changed. stdin: 1 added, 1 removed, 2 unchanged (1 renewed), 1 refused\nRefused:\n" +
		"  203.0.113.0/24 (line 3): why\n" +
		"The list covers 75.0000% of IPv4 and 50.0000% of 2000::/3, and would cut 4 connections\n" +
		"  to our port 22/tcp  4  sshd[7]\n" +
		"\nSources that the rate analysis tracks now:\n  203.0.113.9  412/s  syn  pass  ports \n" +
		"It would be held, unless you add --accept: it is large\n"
	for args, code := range map[string]int{"": exitFailed, "--accept": exitDone} {
		f := &fake{imported: result, preview: control.PreviewResult{
			Connections: control.PreviewConnection{Count: 4, Services: []control.PreviewService{
				{Protocol: "tcp", Direction: "in", Port: 22, Count: 4, Processes: []string{"sshd[7]"}},
			}},
			Traffic: control.PreviewTraffic{Sources: []control.TopSource{
				{Source: "203.0.113.9/32", Rates: map[string]string{"syn": "412/s"}, Nearest: "syn", Verdict: "pass"},
			}},
		}}
		got := invoke(t.Context(), serve(t, f), "192.0.2.0/24\n# x\n203.0.113.0/24\n",
			append(split("import - --dry-run"), split(args)...)...)
		if diff := cmp.Diff(outcome{code, text, ""}, got); diff != "" {
			t.Errorf("%q: -want +got:\n%s", args, diff)
		}
		if r, ok := f.asked[0].(control.Import); !ok || !r.DryRun {
			t.Errorf("asked for %+v", f.asked)
		}
	}
}

// TestOriginOf: a general name gets the name of its folder.
func TestOriginOf(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("here", 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir("here")
	for name, want := range map[string]string{
		"-": "stdin", "lists/ipsum.txt": "ipsum", "ipsum.txt.gz": "ipsum", "vpn/ipv4.txt": "vpn-ipv4",
		"datacenter/ipv4.txt": "datacenter-ipv4", "country/NZ/ipv4-aggregated.txt": "NZ-ipv4-aggregated",
		"ipv4.txt": "here-ipv4", "a/IPv6.txt.xz": "a-IPv6", "/ipv4.txt": "ipv4", "block_list.txt": "here-block_list",
		"drop_v4.json": "drop_v4", "/dev/fd/63": "", ".txt": "",
	} {
		if got := originOf(filepath.FromSlash(name)); got != want {
			t.Errorf("%s: origin %q, want %q", name, got, want)
		}
	}
}

// TestImportInterrupted: a signal ends the reading of a pipe on which nothing comes.
func TestImportInterrupted(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := io.WriteString(w, "192.0.2.1\n")
		if err == nil {
			cancel()
		}
	}()
	var stderr bytes.Buffer
	code := run(ctx, split("import -"), environment{stdin: r, stdout: io.Discard, stderr: &stderr,
		getenv: func(string) string { return "" }, now: func() time.Time { return noon }})
	if code != exitFailed || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
}
