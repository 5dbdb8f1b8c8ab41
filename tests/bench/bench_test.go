package main

import (
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gaissmai/bart"
	"github.com/google/go-cmp/cmp"
)

// The figures mean something only if the traffic is as its name says.
func TestTrafficIsWhatItIsCalled(t *testing.T) {
	for _, m := range []mix{mixIPv4, mixHosts, mixUniform, mixClustered} {
		t.Run(string(m), func(t *testing.T) {
			const n = 50_000
			l := newList(m, n)
			var listed bart.Lite
			for _, p := range l.prefixes {
				listed.Insert(p)
			}
			if listed.Size() != n {
				t.Fatalf("%d different prefixes, want %d", listed.Size(), n)
			}
			for _, a := range l.clean() {
				if listed.Contains(a) {
					t.Fatalf("clean source %s is listed", a)
				}
			}
			for _, a := range l.blocked() {
				if !listed.Contains(a) {
					t.Fatalf("blocked source %s is not listed", a)
				}
			}
		})
	}
}

// nft refuses a set whose intervals overlap.
func TestIPv4ListsDoNotOverlap(t *testing.T) {
	l := newList(mixIPv4, 100_000)
	slices.SortFunc(l.prefixes, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	for i, p := range l.prefixes[1:] {
		if l.prefixes[i].Overlaps(p) {
			t.Errorf("%s overlaps %s", l.prefixes[i], p)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(200-i)*time.Millisecond)
	}
	if diff := cmp.Diff(quantile{P50: 101, P99: 199, Max: 200}, quantiles(all)); diff != "" {
		t.Error(diff)
	}
}

func TestSplice(t *testing.T) {
	page := "before\n" + beginMark + "old\n" + endMark + "after\n"
	got, err := splice(page, "new\n")
	if want := "before\n" + beginMark + "\nnew\n\n" + endMark + "after\n"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if _, err := splice("no marks\n", "new\n"); err == nil {
		t.Error("a page without marks was accepted")
	}
}

// A contender that is not installed is reported as missing, not left out.
func TestMissingToolIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	r := report{Veth: []vethRow{{Contender: "x", Missing: notInstalled("nft", "nftables")}}}
	var out strings.Builder
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	if want := "| x | not installed: nft (apt-get install nftables) |"; !strings.Contains(out.String(), want) {
		t.Errorf("no %q in:\n%s", want, out.String())
	}
}

func TestPlotIsWellFormed(t *testing.T) {
	var r report
	for _, m := range []mix{mixIPv4, mixUniform} {
		for _, n := range []int{1000, 1_000_000} {
			for _, traffic := range []string{clean, blocked} {
				r.Packets = append(r.Packets, packetRow{Mix: m, Entries: n, Traffic: traffic, Floor: 24, Index: 50,
					LPM: 900})
			}
		}
	}
	d := xml.NewDecoder(strings.NewReader(string(r.plot())))
	lines := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "polyline" {
			lines++
		}
	}
	if want := 2 * len(curves()); lines != want {
		t.Errorf("%d curves, want %d", lines, want)
	}
}

// A page that does not exist is created. A page that has no place for the tables is refused before
// anything is measured.
func TestPreparePage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	for range 2 { // the second time the page exists
		if err := preparePage(dir); err != nil {
			t.Fatal(err)
		}
		if err := new(report).document(dir); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(pageOf(dir))
	if err != nil || !strings.Contains(string(page), "### Loading a list") {
		t.Errorf("the new page has no tables: %v\n%s", err, page)
	}
	if err := os.WriteFile(pageOf(dir), []byte("something else\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := preparePage(dir); err == nil || !strings.Contains(err.Error(), "bench: begin") {
		t.Errorf("a page without marks: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := preparePage(file); err == nil {
		t.Error("a file in place of the folder was accepted")
	}
}
