package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestShippedListOfKernels(t *testing.T) {
	kernels, err := readList("kernels.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"5.10", "6.1", "6.12", "6.18", "newest"} {
		found := false
		for _, k := range kernels {
			found = found || k.name == want && k.queues > 1
		}
		if !found {
			t.Errorf("no kernel %s with several queues", want)
		}
	}
	for _, k := range kernels {
		if drivers[k.card] == "" {
			t.Errorf("kernel %s: no driver is known for the card %s", k.name, k.card)
		}
	}
}

func TestListOfKernelsIsChecked(t *testing.T) {
	for name, c := range map[string]struct{ list, want string }{
		"a column too few": {"# comment\n5.10 suite package card\n", ":2: 4 columns"},
		"no number":        {"5.10 suite package card many\n", `"many" is no number`},
		"no queue":         {"5.10 suite package card 0\n", `"0" is no number`},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "list")
			if err := os.WriteFile(path, []byte(c.list), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := readList(path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestRenewReplacesTheTableAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kernels.md")
	if err := os.WriteFile(path, []byte("before\n"+begin+"old\n"+end+"after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	rows := []row{{kernel: kernel{card: "e1000e"}, version: "6.12.1-amd64", plain: "75000", frags: "129000", mode: "generic", queues: 1}}
	for range 2 { // again, to the same effect
		if err := renew(path, rows); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := string(b)
	if !strings.HasPrefix(got, "before\n"+begin) || !strings.HasSuffix(got, end+"after\n") || strings.Contains(got, "old") {
		t.Errorf("got %q", got)
	}
	if want := "| 6.12.1-amd64 | 75000 | 129000 | e1000e | 1 | generic |\n"; strings.Count(got, want) != 1 {
		t.Errorf("got %q, which is to have once %q", got, want)
	}
	if err := os.WriteFile(path, []byte("no place\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := renew(path, rows); err == nil {
		t.Error("a page without a place for the table was accepted")
	}
}

func TestDocumentHasAPlaceForTheTable(t *testing.T) {
	b, err := os.ReadFile("../../docs/kernels.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, rest, ok := strings.Cut(string(b), begin); !ok || !strings.Contains(rest, end) {
		t.Error("docs/kernels.md has no place for the table")
	}
}
