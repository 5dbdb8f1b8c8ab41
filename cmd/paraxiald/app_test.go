package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.yaml", "interfaces: [eth0, eth1]\n")
	bad := file("bad.yaml", "interfaces: [eth0]\nguard:\n  never_blok: []\n")
	empty := file("empty.yaml", "")

	for _, tc := range []struct {
		args           string
		code           int
		stdout, stderr string // parts
	}{
		{"check --config " + good, 0, good + ": ok, 2 interfaces", ""},
		{"--config " + good + " check", 0, good + ": ok, 2 interfaces", ""},
		{"check --config " + good + " --interface up0", 0, "ok, 1 interfaces", ""},
		{"check --interface up0 --interface up1 --metrics off", 0, "the command line: ok, 2 interfaces", ""},
		{"check --config " + bad, 1, "", bad + ":3:3: "},
		{"check --config " + empty, 1, "", "--interface eth0"},
		{"check --config " + dir + "/none.yaml", 1, "", "none.yaml: no such file"},
		{"check --interface up0 --xdp-mode fast", 2, "", "--xdp-mode: "},
		{"check --interface this-name-is-too-long", 2, "", "--interface: "},
		{"check --interface up0 --log-level loud", 2, "", "--log-level: "},
		{"check --interface up0 --metrics nowhere", 2, "", "--metrics: "},
		{"check extra", 2, "", `"extra"`},
		{"check --nonsense", 2, "", "nonsense"},
		{"nonsense", 2, "", `unknown command "nonsense"`},
		{"version", 0, "paraxiald dev", ""},
		{"--help", 0, "leaves the filter in place", ""},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"paraxiald"}, strings.Fields(tc.args)...), &stdout, &stderr)
		if code != tc.code || !strings.Contains(stdout.String(), tc.stdout) ||
			!strings.Contains(stderr.String(), tc.stderr) {
			t.Errorf("paraxiald %s: exit code %d, want %d\nstdout: %s\nwant: %s\nstderr: %s\nwant: %s",
				tc.args, code, tc.code, &stdout, tc.stdout, &stderr, tc.stderr)
		}
	}
}

// The reference lists every flag of the daemon, and no other.
func TestDocsNameEveryFlag(t *testing.T) {
	doc, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, f := range flags() {
		want = append(want, f.Names()[0])
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `--([a-z-]+) [A-Z]+` \\|").FindAllStringSubmatch(string(doc), -1) {
		got = append(got, row[1])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the flags of docs/config.md (-program +documented):\n%s", diff)
	}
}
