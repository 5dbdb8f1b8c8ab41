package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/control"
)

// floods returns three sources, the nearest to its limit first.
func floods() control.TopResult {
	return control.TopResult{Time: noon, Sources: []control.TopSource{
		{Source: "2001:db8:1234:5678::/64", Packets: 52_300, Bytes: 3_661_000,
			Rates: map[string]string{"syn-flood": "52300/s", "udp": "12/s"}, Share: 261.5, Nearest: "syn-flood",
			Verdict: "limit", Since: noon.Add(-90 * time.Second), Ports: []uint16{443, 8443}},
		{Source: "203.0.113.99/32", Packets: 412, Bytes: 28_840, Rates: map[string]string{"syn-flood": "412/s"},
			Share: 2.06, Nearest: "syn-flood", Verdict: "drop", Since: noon.Add(-8 * time.Second)},
		{Source: "198.51.100.7/32", Rates: map[string]string{"bulk\x1b": "9600kbit/s"}, Share: 0.96,
			Nearest: "bulk\x1b", Verdict: "pass", Since: noon, Ports: []uint16{}},
	}}
}

func fullAddress(share float64) control.TopResult {
	return control.TopResult{Time: noon,
		Sources: []control.TopSource{{Source: "2001:db8:1234:5678:9abc:def0:1234:5678/128",
			Rates:   map[string]string{"a-detector-with-a-long-name": "10Gbit/s"},
			Nearest: "a-detector-with-a-long-name", Share: share, Verdict: "shadow", Packets: 1e6, Bytes: 1.25e9,
			Since: noon.Add(-26 * time.Hour)}}}
}

func full(shares ...float64) (all []control.TopResult) {
	for _, s := range shares {
		all = append(all, fullAddress(s))
	}
	return all
}

func view(results ...control.TopResult) *topView {
	v := &topView{now: func() time.Time { return noon }, interval: time.Second, order: topOrders()[0],
		shares: map[string][]float64{}, sparks: true}
	for _, r := range results {
		v.take(r)
	}
	return v
}

func TestTopOnce(t *testing.T) {
	head := "SOURCE                   DETECTOR         RATE  SHARE  TREND     VERDICT  PACKETS        BITS    AGE  " +
		"PORTS     OTHER RATES"
	v6 := "2001:db8:1234:5678::/64  syn-flood     52.3k/s   262x  -         limit    52.3k/s  29.3Mbit/s  1m30s  " +
		"443,8443  udp=12/s"
	v4 := "203.0.113.99             syn-flood       412/s   206%  -         drop       412/s   231kbit/s     8s  -  " +
		"       -"
	low := `198.51.100.7             bulk\x1b    9.6Mbit/s    96%  -         pass           -           -     0s  -  ` +
		`       -`
	for args, want := range map[string][]string{
		"top --once": {"2026-11-23 12:00:00 UTC  3 sources, 2 at a limit or over", head, v6, v4,
			low},
		"top --once --limit 2": {"2026-11-23 12:00:00 UTC  3 sources, 2 at a limit or over, 2 shown",
			head, v6, v4},
		"top --once --sort source --limit 9": {"2026-11-23 12:00:00 UTC  3 sources, 2 at a limit or over", head, low,
			v4, v6},
	} {
		got := invoke(t.Context(), serve(t, &fake{top: []control.TopResult{floods()}}), "", split(args)...)
		if diff := cmp.Diff(outcome{0, lines(want...), ""}, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", args, diff)
		}
	}
	got := invoke(t.Context(), serve(t, &fake{}), "", "top", "--once")
	if want := "no source is near a limit"; got.Code != exitDone || !strings.Contains(got.Stdout, want) {
		t.Errorf("got %+v, want %q", got, want)
	}
}

// TestTopScreen: the output on a terminal of 80 columns. No other size breaks it.
func TestTopScreen(t *testing.T) {
	less, more := floods(), floods()
	less.Sources[1].Share = 0.3
	more.Sources = more.Sources[:2]
	failed := view(floods())
	failed.hear(answer{err: fmt.Errorf("connect: %w", io.ErrUnexpectedEOF)})
	slow := view(floods())
	slow.hear(answer{err: context.DeadlineExceeded})
	backwards := view(floods())
	backwards.press('s')
	backwards.press('s')
	keys := "q quit  [r share]  p packets  b bytes  s source  d detector  v verdict  a age"
	for _, tt := range []struct {
		name string
		view *topView
		want []string
	}{
		{"three", view(less, floods()), []string{
			"paraxial top  12:00:00  3 sources, 2 at a limit or over                         ",
			"SOURCE                   DETECTOR         RATE  SHARE  TREND     VERDICT    AGE",
			"2001:db8:1234:5678::/64  syn-flood     52.3k/s   262x  ██        limit    1m30s",
			"203.0.113.99             syn-flood       412/s   206%  ▂█        drop        8s",
			`198.51.100.7             bulk\x1b    9.6Mbit/s    96%  ██        pass        0s`,
			"", "", keys}},
		{"a whole address", view(full(0, 0, 0, 0.1, 0.5, 1, 0.1, 0.2, 0.3, 0.4, 1)...), []string{
			"paraxial top  12:00:00  1 source, 1 at a limit or over                          ",
			"SOURCE                                        RATE  SHARE  TREND     VERDICT",
			"2001:db8:1234:5678:9abc:def0:1234:5678  10.0Gbit/s   100%  ▁▅█▁▂▃▄█  shadow",
			"", "", "", "", keys}},
		{"no answer", failed, []string{
			"paraxial top  12:00:00  3 sources, 2 at a limit or over                         ",
			"NO ANSWER for 0s, trying again: connect: unexpected EOF",
		}},
		{"slow", slow, []string{
			"paraxial top  12:00:00  3 sources, 2 at a limit or over                         ",
			"NO ANSWER for 0s, trying again: paraxiald takes too long",
		}},
		{"nothing", view(control.TopResult{Time: noon}),
			[]string{"paraxial top  12:00:00  no source is near a limit (paraxialctl detectors shows ~", "", "", "", "",
				"", "", keys}},
	} {
		got := tt.view.screen(80, 8)
		if diff := cmp.Diff(tt.want, got[:len(tt.want)]); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.name, diff)
		}
	}
	if got := failed.screen(80, 5); len(got) != 5 || !strings.HasPrefix(got[3], "2001:") || got[4] != keys {
		t.Errorf("no answer, on 5 lines:\n%s", strings.Join(got, "\n"))
	}
	if got := backwards.screen(200, 8); !strings.HasPrefix(got[2], "2001:") || !strings.Contains(got[2], "udp=12/s") ||
		!strings.HasSuffix(got[7], "[s -source]  d detector  v verdict  a age") {
		t.Errorf("by source, reversed, in 200 columns:\n%s", strings.Join(got, "\n"))
	}
	for width := range 130 {
		for height := range 12 {
			got := view(floods(), fullAddress(3)).screen(width, height)
			if len(got) > max(height, 1) {
				t.Fatalf("%d lines at %dx%d", len(got), width, height)
			}
			for _, line := range got {
				if utf8.RuneCountInString(line) > width {
					t.Fatalf("%q at %dx%d", line, width, height)
				}
			}
		}
	}
}

// TestTopKeepsColumns: the table does not jump when a long source comes and goes. A
// key that sorts resets its widths.
func TestTopKeepsColumns(t *testing.T) {
	v := view(floods())
	narrow := v.screen(80, 24)[1]
	v.take(fullAddress(1))
	wide := v.screen(80, 24)[1]
	v.take(floods())
	if got := v.screen(80, 24)[1]; wide == narrow || got != wide {
		t.Errorf("%q became %q, and then %q", narrow, wide, got)
	}
	v.press('r')
	if got := v.screen(80, 24)[1]; got != narrow {
		t.Errorf("after a key %q, want %q", got, narrow)
	}
}

// TestTopPipe: without a terminal, tables follow each other without escapes, and
// have trends in words.
func TestTopPipe(t *testing.T) {
	grown := floods()
	grown.Time, grown.Sources[0].Share, grown.Sources[1].Share, grown.Sources[2].Share = noon.Add(time.Second), 255,
		1.5, 0.99
	one := fullAddress(1)
	for _, args := range []string{"top --interval 100ms", "top --interval 100ms -o json"} {
		socket := serve(t, &fake{top: []control.TopResult{floods(), grown, one, {}}})
		ctx, stop := context.WithCancel(t.Context())
		r, w := io.Pipe()
		code := make(chan int, 1)
		var stderr bytes.Buffer
		go func() {
			code <- run(ctx, split(args), environment{
				stdin: strings.NewReader(""), stdout: w, stderr: &stderr, now: func() time.Time { return noon },
				getenv: func(name string) string {
					return map[string]string{"PARAXIAL_SOCKET": socket,
						"LANG": "C.UTF-8"}[name]
				},
			})
			w.Close()
		}()
		text := readUntil(t, r, func(s string) bool {
			return strings.Contains(s, "no source is near a limit") || strings.Contains(s, `"sources":[]`)
		})
		stop()
		go io.Copy(io.Discard, r)
		if c := <-code; c != exitDone || stderr.Len() > 0 {
			t.Errorf("%s: exit %d: %s", args, c, stderr.String())
		}
		if strings.ContainsAny(text, "\x1b\r") {
			t.Errorf("%s: escapes in %q", args, text)
		}
		if strings.HasSuffix(args, "json") {
			checkTopLines(t, text, floods(), grown, one)
			continue
		}
		for _, want := range []string{
			"2026-11-23 12:00:00 UTC  3 sources, 2 at a limit or over\nSOURCE ",
			"2026-11-23 12:00:01 UTC  3 sources, 2 at a limit or over\nSOURCE ",
			"150%  down      drop", "255x  steady    limit", "99%  steady    pass", "-         shadow",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in:\n%s", want, text)
			}
		}
	}
}

// readUntil reads until enough is true. It fails the test if that takes too long.
func readUntil(t *testing.T, r *io.PipeReader, enough func(string) bool) string {
	t.Helper()
	timer := time.AfterFunc(30*time.Second, func() { r.Close() })
	defer timer.Stop()
	var text strings.Builder
	b := make([]byte, 4096)
	for !enough(text.String()) {
		n, err := r.Read(b)
		if err != nil {
			t.Fatalf("%v, or no more in 30 seconds, after %q", err, text.String())
		}
		text.Write(b[:n])
	}
	return text.String()
}

func checkTopLines(t *testing.T, text string, want ...control.TopResult) {
	t.Helper()
	var got []control.TopResult
	for line := range strings.Lines(text) {
		var r control.TopResult
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, r)
	}
	wantText, _ := json.Marshal(want)
	gotText, _ := json.Marshal(got[:min(len(want), len(got))])
	if diff := cmp.Diff(string(wantText), string(gotText)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestPerSecond(t *testing.T) {
	for n, want := range map[float64]string{
		0: "", -1: "", 1: "1/s", 412: "412/s", 999.4: "999/s", 999.5: "1.0k/s", 12345: "12.3k/s", 99949: "99.9k/s",
		99951:   "100k/s",
		999_499: "999k/s", 999_501: "1.0M/s", 1.25e9: "1.2G/s", 5e15: "5000T/s",
	} {
		if got := perSecond(n, ""); got != want {
			t.Errorf("%v: %q, want %q", n, got, want)
		}
	}
}
