package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/match"
)

const authLog = "Nov 29 08:00:01 web1 sshd[7]: Failed password for bob from 198.51.100.20 port 40000 ssh2\n" +
	"Nov 29 08:00:02 web1 sshd[7]: Accepted password for bob from 198.51.100.20 port 40000 ssh2\n" +
	"\n"

func TestMatch(t *testing.T) {
	got := invoke(t.Context(), "/nonexistent", authLog, "match", "sshd", "-")
	want := lines("1  198.51.100.20  failure", "2  nobody  success", "3  nobody  unread", "",
		"1 events of 198.51.100.20",
		"unread 1, failure 1, success 1, other 0, ambiguous 0, no_address 0, too_long 0")
	if diff := cmp.Diff(outcome{exitDone, want, ""}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestMatchJSON: each line of input has one object, also the last one without a line end and
// one that is too long.
func TestMatchJSON(t *testing.T) {
	file := filepath.Join(t.TempDir(), "app.log")
	text := "203.0.113.9 failed a\n" + strings.Repeat("x", 3*match.Longest) +
		"\n203.0.113.9 failed 203.0.113.8 failed a"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := invoke(t.Context(), "/nonexistent", "", "match", file, "--pattern", "<addr> failed <user>",
		"--pattern", "<x> failed <addr> failed a", "-o", "json")
	want := lines(`{"line":1,"address":"203.0.113.9","ambiguous":false,"result":"failure","user":"a","count":1}`,
		`{"line":2,"address":null,"ambiguous":false,"result":"too_long"}`,
		`{"line":3,"address":null,"ambiguous":true,"result":"ambiguous"}`)
	if diff := cmp.Diff(outcome{exitDone, want, ""}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestMatchRule replays a log by its own clock.
func TestMatchRule(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(config, []byte(`
proxies: [192.0.2.0/24]
rules:
  - {name: login, limit: 2, window: 1m, action: block, for: 1h}
  - {name: scan, limit: 1, window: 1m, action: shadow, for: 10m}
logs:
  - {name: shop, file: /x, format: nginx-access, match: {path: [/login]}, rule: scan}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	line := func(second, addr string) string {
		return "2026-11-28T10:00:" + second + "Z web1 sshd[7]: Failed password for bob from " + addr + " port 4 ssh2\n"
	}
	log := line("00", "9.9.9.9") + line("01", "9.9.9.9") + line("01", "192.0.2.7") + line("02", "9.9.9.8") +
		line("02", "192.0.2.7") + line("03", "192.0.2.7") + line("59", "9.9.9.9") +
		strings.Replace(line("00", "9.9.9.8"), "10:00", "10:09", 1) +
		strings.Replace(line("01", "9.9.9.8"), "10:00", "10:09", 1)
	access := func(path string) string {
		return `9.9.9.9 - - [28/Nov/2026:11:00:00 +0100] "POST ` + path + ` HTTP/1.1" 200 5 "-" "-"` + "\n"
	}
	for _, tt := range []struct {
		args, stdin string
		want        outcome
	}{
		{"match sshd - --rule login", log, outcome{exitDone, lines(
			"2026-11-28T10:00:59Z  line 7  9.9.9.9/32  block for 1h by login: 3 points, limit 2", "1 ban"), ""}},
		{"match shop", access("/login") + access("/") + access("/login/"), outcome{exitDone, lines(
			"2026-11-28T10:00:00Z  line 3  9.9.9.9/32  shadow for 10m by scan: 2 points, limit 1", "1 ban"), ""}},
		{"match nginx-access --rule scan", access("/x") + access("/x"), outcome{exitDone, "0 bans\n", ""}},
		{"match shop -o json", access("/login") + access("/login"), outcome{exitDone, lines(
			`{"line":1,"address":"9.9.9.9","ambiguous":false,"result":"other","count":1}`,
			`{"line":2,"address":"9.9.9.9","ambiguous":false,"result":"other","count":1,"bans":[{`+
				`"rule":"scan","prefix":"9.9.9.9/32","action":"shadow","at":"2026-11-28T10:00:00Z",`+
				`"for":"10m","points":2,"limit":1}]}`,
		), ""}},
		{"match sshd - --rule none", "", outcome{exitFailed, "", "paraxialctl: " + config + " has no rule none\n"}},
	} {
		args := append(strings.Fields(tt.args), "--config", config)
		if diff := cmp.Diff(tt.want, invoke(t.Context(), "/nonexistent", tt.stdin, args...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.args, diff)
		}
	}
	for args, want := range map[string]string{
		"match sshd --rule login":                      "--rule needs the configuration with the rule",
		"match sshd --config " + config:                "name a rule for a format",
		"match --config " + config:                     "takes a format, or a log of the configuration",
		"match x --config " + config + " --rule login": `format "x" is not known`,
	} {
		got := invoke(t.Context(), "/nonexistent", "", strings.Fields(args)...)
		if got.Code != exitUsage || !strings.Contains(got.Stderr, want) {
			t.Errorf("%s: %+v", args, got)
		}
	}
}
