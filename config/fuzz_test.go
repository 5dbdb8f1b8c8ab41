package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse checks that Parse returns either a valid configuration or errors with a
// position in the file.
func FuzzParse(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "errors.txt"))
	if err != nil {
		f.Fatal(err)
	}
	for c := range strings.SplitSeq(string(golden), "\n===\n") {
		in, _, _ := strings.Cut(c, "\n-----\n")
		f.Add([]byte(in))
	}
	f.Add([]byte("---\nlog: {level: debug}\nguard:\n  never_block:\n  - 192.0.2.0/24\n  ssh_ports: [22]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if err == nil {
			checkValid(t, c)
			return
		}
		var errs Errors
		if !errors.As(err, &errs) || len(errs) == 0 {
			t.Fatalf("the error is a %T: %v", err, err)
		}
		lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data)), "\n")
		for _, e := range errs {
			if e.Line < 1 || e.Line > len(lines) || e.Column < 1 || e.Column > len(lines[e.Line-1])+1 {
				t.Errorf("no such place: %v", e)
			}
		}
		if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' && r != '\n' }) {
			t.Errorf("control characters in %q", err)
		}
	})
}

// checkValid checks that c is valid, except that it may have no interfaces.
func checkValid(t *testing.T, c Config) {
	t.Helper()
	if len(c.Interfaces) == 0 {
		if err := c.Validate(); !errors.Is(err, ErrNoInterface) {
			t.Errorf("without interfaces, Validate = %v", err)
		}
		c.Interfaces = []Interface{{Name: "eth0"}}
	}
	if err := c.Validate(); err != nil {
		t.Errorf("Validate refuses what Parse took: %v\n%+v", err, c)
	}
	if live, restart := Diff(c, c); live != nil || restart != nil {
		t.Errorf("Diff with itself: %v, %v", live, restart)
	}
}
