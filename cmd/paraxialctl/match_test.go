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
	want := lines(`{"line":1,"address":"203.0.113.9","ambiguous":false,"result":"failure","count":1}`,
		`{"line":2,"address":null,"ambiguous":false,"result":"too_long"}`,
		`{"line":3,"address":null,"ambiguous":true,"result":"ambiguous"}`)
	if diff := cmp.Diff(outcome{exitDone, want, ""}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
