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
		"a column too few": {"# comment\n5.10 suite package card 1\n", ":2: 5 columns"},
		"no number":        {"5.10 suite package card many filter\n", `"many" is not a number`},
		"no queue":         {"5.10 suite package card 0 filter\n", `"0" is not a number`},
		"no known tries":   {"5.10 suite package card 1 disks\n", `"disks" is neither filter nor devices`},
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

func TestRenewChangesTheRowsThatWereRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kernels.md")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	old := kernel{name: "5.10", card: "virtio-net-pci"}
	other := kernel{name: "e1000e", card: "e1000e"}
	gone := "| gone | 4.4 |\n"
	write("before\n" + begin + gone + "| e1000e | 6.12.0 | kept |\n" + end + "after\n")
	rows := []row{{kernel: old, version: "5.10.1-amd64", plain: "75000", frags: "-", mode: "native", queues: 2}}
	for range 2 { // the second time has the same effect
		if err := renew(path, []kernel{old, other}, rows); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "before\n" + begin + tableHead +
		"| 5.10 | 5.10.1-amd64 | 75000 | - | virtio-net-pci | 2 | native |\n| e1000e | 6.12.0 | kept |\n\n" + end +
		"after\n"
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	write("no place\n")
	if err := renew(path, []kernel{old}, rows); err == nil {
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
