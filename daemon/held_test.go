package daemon

import (
	"strings"
	"testing"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/policy"
)

// TestHeldBy reaches each bound, and goes over it by one.
func TestHeldBy(t *testing.T) {
	usual := bounds{Import: config.Default().Import, section: "import"}
	off := bounds{Import: config.Import{MaxShrink: 100, MaxGrow: 0, MaxShare: 100}, section: "import"}
	for _, tt := range []struct {
		name                      string
		bounds                    bounds
		added, removed, unchanged int
		covers                    control.Coverage
		want                      string // part of the causes; empty if it is not held
	}{
		{"new set", usual, 1_000_000, 0, 0, control.Coverage{}, ""},
		{"half is left", usual, 0, 50, 50, control.Coverage{}, ""},
		{"less than half is left", usual, 0, 51, 49, control.Coverage{},
			"of 100 entries only 49 would be left (import.max_shrink is 50%)"},
		{"all are replaced", usual, 100, 100, 0, control.Coverage{}, ""},
		{"small set shrinks", usual, 0, 98, 1, control.Coverage{}, ""},
		{"small set becomes empty", usual, 0, 1, 0, control.Coverage{}, "it would remove all 1 entry"},
		{"nothing to add or remove", usual, 0, 0, 0, control.Coverage{}, "the guard refuses all of its prefixes"},
		{"three times as many", usual, 200, 0, 100, control.Coverage{}, ""},
		{"more than that", usual, 201, 0, 100, control.Coverage{},
			"100 entries would become 301 (import.max_grow is 3)"},
		{"small set grows", usual, 1000, 0, 99, control.Coverage{}, ""},
		{"half of IPv4 and IPv6", usual, 1, 0, 0, control.Coverage{IPv4: 0.5, IPv6: 0.5}, ""},
		{"more of IPv4", usual, 1, 0, 0, control.Coverage{IPv4: 219.0 / 256},
			"cover 85.5% of IPv4 (import.max_share is 50%)"},
		{"more of IPv6", usual, 1, 0, 0, control.Coverage{IPv6: 0.51}, "cover 51% of 2000::/3"},
		{"all turned off", off, 1_000_000, 199, 1, control.Coverage{IPv4: 1, IPv6: 1}, ""},
		{"empty although turned off", off, 0, 1000, 0, control.Coverage{}, "it would remove all 1000 entries"},
	} {
		counts := engine.Replaced{Added: tt.added, Removed: tt.removed, Unchanged: tt.unchanged}
		got := strings.Join(tt.bounds.heldBy(control.Import{Action: policy.Drop}, false, counts, tt.covers), "; ")
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		for _, r := range []control.Import{{Action: policy.Shadow}, {Action: policy.Drop, Force: true}} {
			if got := tt.bounds.heldBy(r, false, counts, control.Coverage{IPv4: 1,
				IPv6: 1}); strings.Contains(strings.Join(got, ""), "cover") {
				t.Errorf("%s, %+v: %q", tt.name, r, got)
			}
		}
	}
	for _, before := range []int{0, 7} {
		got := off.heldBy(control.Import{}, true, engine.Replaced{Removed: before}, control.Coverage{})
		if len(got) != 1 || !strings.HasPrefix(got[0], "the list has no prefix") {
			t.Errorf("an empty list in place of %d entries: %q", before, got)
		}
	}
}

func TestAmount(t *testing.T) {
	for n, want := range map[int]string{0: "0 entries", 1: "1 entry", 2: "2 entries", 1200: "1200 entries"} {
		if got := entriesText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
