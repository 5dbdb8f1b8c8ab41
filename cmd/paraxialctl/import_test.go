package main

import (
	"bytes"
	"context"
	"io"
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
		{"several", "", "192.0.2.1 192.0.2.2 192.0.2.3\n", "", []any{"192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"}, ""},
		{"merged", "--aggregate", "192.0.2.1\n192.0.2.0\n192.0.2.1\n::/1\n", "", []any{"192.0.2.0/31", "::/1"}, ""},
		{"named", "--format ranges", "192.0.2.0 192.0.2.3\n", "", []any{"192.0.2.0/30"},
			"note: read as ranges, 1 prefixes\n"},
		{"selected", "--column b --select c=x,c=z", "a,b,c\n192.0.2.1,192.0.2.2,x\n192.0.2.1,192.0.2.3,y\n", "",
			[]any{"192.0.2.2/32"}, "note: read as CSV, 1 prefixes\n" +
				"note: 1 records are left out: they are not selected, or block nothing\n"},
		{"expiry", "", "add a 192.0.2.1 timeout 60\nadd a 192.0.2.2 timeout 90\n", "1m30s",
			[]any{"192.0.2.1/32", "192.0.2.2/32"}, "note: read as ipset, 2 prefixes\n" +
				"note: all entries are kept for 1m30s, when the last one expires by the list\n"},
		{"own expiry", "--for 1h", "add a 192.0.2.1 timeout 60\n", "1h", []any{"192.0.2.1/32"},
			"note: read as ipset, 1 prefixes\n"},
		{"some expire", "", "add a 192.0.2.1 timeout 60\nadd a 192.0.2.2\n", "", []any{"192.0.2.1/32", "192.0.2.2/32"},
			"note: read as ipset, 2 prefixes\n" +
				"note: 1 of 2 entries expire by the list; all are kept without end, unless you give --for\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{}
			got := invoke(t.Context(), serve(t, f), tt.text, append(split("import -"), split(tt.args)...)...)
			req := control.Import{Origin: "stdin", For: policy.TTLForever}
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
	if got.Code != exitUsage || !strings.Contains(got.Stderr, "curl -fsSL https://example.com/x.txt | paraxialctl import -") {
		t.Errorf("got %+v", got)
	}
}

func TestImportDryRun(t *testing.T) {
	listed := func(prefix string) control.Entry {
		return control.Entry{Prefix: prefix, Kind: policy.Block.String(), Origin: "stdin"}
	}
	f := &fake{entries: []control.Entry{listed("192.0.2.0/24"), listed("198.51.100.0/24")}}
	got := invoke(t.Context(), serve(t, f), "192.0.2.0/24\n203.0.113.0/24\n203.0.113.0/24\n", "import", "-", "--dry-run")
	const want = "Nothing was changed. stdin: 1 added, 1 removed, 1 unchanged, 0 refused; the list covers 0.0000% of IPv4"
	if got.Code != exitDone || !strings.HasPrefix(got.Stdout, want) {
		t.Errorf("got %+v", got)
	}
	for _, asked := range f.asked {
		if _, ok := asked.(control.Import); ok {
			t.Error("it was imported")
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
