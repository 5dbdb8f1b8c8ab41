package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConvertFail2ban: the jails of a folder become YAML or JSON, without a daemon.
func TestConvertFail2ban(t *testing.T) {
	dir := t.TempDir()
	jail := "[DEFAULT]\nmaxretry = 5\nfindtime = 10m\nbantime = 1h\nfilter = %(__name__)s\n" +
		"[sshd]\nenabled = true\nlogpath = /var/log/auth.log\n" +
		"[own]\nenabled = true\n[bad]\nenabled = true\nmaxretry = x\n"
	if err := os.WriteFile(filepath.Join(dir, "jail.local"), []byte(jail), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) outcome {
		return invoke(t.Context(), "/nonexistent", "", append([]string{"convert", "fail2ban"}, args...)...)
	}
	got := run(dir, "--action", "block")
	for _, want := range []string{"    limit: 4 #", "    action: block\n    for: 1h\n", "    file: /var/log/auth.log\n",
		"#   own: the filter own has no format", "#   bad: maxretry of [bad] is \"x\""} {
		if !strings.Contains(strings.ReplaceAll(got.Stdout, `\"`, `"`), want) || got.Code != exitDone {
			t.Errorf("no %q in\n%s%s", want, got.Stdout, got.Stderr)
		}
	}
	got = run("-o", "json", dir)
	var v struct {
		Rules []struct {
			Name, Window, For string
			Limit             int
		}
		NotConverted []struct{ Jail, Text string } `json:"not_converted"`
	}
	if err := json.Unmarshal([]byte(got.Stdout), &v); err != nil || len(v.Rules) != 1 || v.Rules[0].Limit != 4 ||
		v.Rules[0].Window != "10m" || len(v.NotConverted) != 2 {
		t.Errorf("%v, %+v\n%s", err, v, got.Stdout)
	}
	if got := run(dir, dir); got.Code != exitUsage {
		t.Errorf("two folders: %+v", got)
	}
	if got := run("--action", "drop", dir); got.Code != exitUsage {
		t.Errorf("no action: %+v", got)
	}
	if got := run(t.TempDir()); got.Code != exitFailed || !strings.Contains(got.Stderr, "has no jail.conf") {
		t.Errorf("an empty folder: %+v", got)
	}
}
