package lists_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/lists"
)

// TestParts: Each gives the entries of Read in their order, also after exemptions.
func TestParts(t *testing.T) {
	var long strings.Builder
	for n := range 150_000 {
		fmt.Fprintf(&long, "10.%d.%d.%d\n", n>>16, n>>8&255, n&255)
	}
	for name, text := range map[string]string{
		"long": long.String(), "short": "192.0.2.1\n", "exempt": "192.0.2.0/30\n!192.0.2.1\n",
	} {
		want, err := lists.Read(strings.NewReader(text), lists.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := lists.Read(strings.NewReader(text), lists.Options{Parts: true})
		if err != nil || got.Len() != len(want.Entries) {
			t.Fatalf("%s: %d entries, want %d (%v)", name, got.Len(), len(want.Entries), err)
		}
		n := 0
		for e := range got.Each() {
			if e != want.Entries[n] {
				t.Fatalf("%s: entry %d is %v, want %v", name, n, e, want.Entries[n])
			}
			n++
		}
		if n != len(want.Entries) || got.Len() != 0 {
			t.Errorf("%s: got %d of %d entries; %d are left", name, n, len(want.Entries), got.Len())
		}
	}
}

func TestMaxPrefixes(t *testing.T) {
	for _, tt := range []struct {
		n    int
		fits bool
	}{{100, true}, {101, false}} {
		_, err := lists.Read(strings.NewReader(strings.Repeat("192.0.2.1\n", tt.n)), lists.Options{MaxPrefixes: 100})
		if (err == nil) != tt.fits || err != nil && !strings.Contains(err.Error(), "more than 100 prefixes") {
			t.Errorf("%d prefixes of at most 100: %v", tt.n, err)
		}
	}
}
