package match_test

import (
	"testing"
	"time"

	"github.com/paraxial/paraxial/match"
)

func TestTime(t *testing.T) {
	east := time.FixedZone("east", 3600)
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, east)
	for _, tt := range []struct{ format, line, want string }{
		{"sshd", "Jan  2 11:59:58 h sshd[1]: x", "2026-01-02T10:59:58Z"},
		{"sshd", "Dec 31 23:00:00 h sshd[1]: x", "2025-12-31T22:00:00Z"},
		{"sshd", "Jan  3 11:00:00 h sshd[1]: x", "2026-01-03T10:00:00Z"}, // a clock that is ahead
		{"sshd", "<38>Jan  2 11:59:58 h sshd[1]: x", "2026-01-02T10:59:58Z"},
		{"sshd", "2026-01-02T11:59:58.25+01:00 h sshd[1]: x", "2026-01-02T10:59:58.25Z"},
		{"sshd", "2026-01-02 11:59:58 h sshd[1]: x", "2026-01-02T10:59:58Z"},
		{"sshd", "Jan  2 11:59 h", ""},
		{"sshd", "Jan 32 11:59:58 h sshd[1]: x", ""},
		{"nginx-access", `198.51.100.9 - - [02/Jan/2026:11:59:58 -0130] "GET / HTTP/1.1" 404 1`,
			"2026-01-02T13:29:58Z"},
		{"nginx-access", `198.51.100.9 - a [02/Jan [02/Jan/2026:11:59:58 +0000] "GET / HTTP/1.1" 404 1`,
			"2026-01-02T11:59:58Z"},
		// A client chooses the name of the user, and must not choose the time with it.
		{"nginx-access", `198.51.100.9 - a [02/Jan/2020:11:59:58 +0000] [02/Jan/2026:11:59:58 +0000] ` +
			`"GET / HTTP/1.1" 404 1`, "2026-01-02T11:59:58Z"},
		{"nginx-access", `198.51.100.9 - - [02/Jan/2026:11:59:58 +0000] "GET / [02/Jan/2020:11:59:58 +0000] " 404 1`,
			"2026-01-02T11:59:58Z"},
		{"haproxy", `198.51.100.9:1 [02/Jan/2026:11:59:58.5] f b/s 0/0/0 404 1 - - ---- 1/1 0/0 ` +
			`{a [02/Jan/2020:11:59:58 +0000]} "GET / HTTP/1.1"`, "2026-01-02T10:59:58.5Z"}, // in local time
		{"grafana", `logger=context msg="Invalid username or password" uname="a [02/Jan/2020:11:59:58 +0000]"`, ""},
		{"nginx-error", "2026/01/02 11:59:58 [error] 1#1: *2 x", "2026-01-02T10:59:58Z"},
		{"apache-error", "[Fri Jan 02 11:59:58.5 2026] [x] [client 198.51.100.9] x", "2026-01-02T10:59:58.5Z"},
		{"vaultwarden", "[2026-01-02 11:59:58.123][x][ERROR] x", "2026-01-02T10:59:58.123Z"},
		{"caddy", `{"level":"info","ts":1767351598.5,"request":{}}`, "2026-01-02T10:59:58.5Z"},
		{"nginx-json", `{"time": "2026-01-02T11:59:58+01:00"}`, "2026-01-02T10:59:58Z"},
		{"json", `{"timestamp":1767351598500}`, "2026-01-02T10:59:58.5Z"},
		{"json", `{"x":1}`, ""},
	} {
		f, err := match.New(tt.format)
		if err != nil {
			t.Fatal(err)
		}
		checkTime(t, f, tt.line, tt.want, now)
	}
}

func checkTime(t *testing.T, f *match.Format, line, want string, now time.Time) {
	t.Helper()
	got, ok := f.Time([]byte(line), now)
	text := ""
	if ok {
		text = got.UTC().Format(time.RFC3339Nano)
	}
	if text != want {
		t.Errorf("%s\ngot %q, want %q", line, text, want)
	}
}

// TestLayouts: the patterns of a user apply to what is behind the time.
func TestLayouts(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for layout, head := range map[match.Layout]string{
		"":               "",
		match.RFC3339:    "2026-01-02T10:59:58Z ",
		match.RFC3164:    "Jan  2 10:59:58 ",
		match.CLF:        "[02/Jan/2026:11:59:58 +0100] ",
		match.NginxError: "2026/01/02 10:59:58 ",
		match.Epoch:      "1767351598 ",
	} {
		f, err := match.Patterns([]string{"no <:.*>, <addr>", "x from <addr>"}, layout)
		if err != nil {
			t.Fatal(err)
		}
		r := f.Match([]byte(head + "x from 198.51.100.9"))
		if r.Held().String() != "198.51.100.9" || r.Pattern != 1 {
			t.Errorf("%s: %+v", layout, r)
		}
		want := "2026-01-02T10:59:58Z"
		if layout == "" {
			want = ""
		}
		checkTime(t, f, head+"x from 198.51.100.9", want, now)
		if r := f.Match([]byte("?" + head + "x from 198.51.100.9")); r.Kind != match.Unread {
			t.Errorf("%s: with another head: %+v", layout, r)
		}
	}
	if _, err := match.ParseLayout("iso"); err == nil {
		t.Error("iso is accepted")
	}
}
