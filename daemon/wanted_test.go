package daemon

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/control"
)

// Lines come back as they were, in the order of the book, each once.
func TestReadWanted(t *testing.T) {
	list := "2001:db8::/32\n255.255.255.255\n::1\n10.0.0.0/8\n10.0.0.0/9\n10.1.2.3 # why\n0.0.0.0/0\n" +
		"2001:db8:0:1::/64\n::ffff:192.0.2.1\n10.0.0.0/8\nffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n::/0\n10.9.9.9/8\n::a00:0/104\n"
	w, err := readWanted(strings.NewReader(list), func(control.ImportProgress) {})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range w.lines {
		got = append(got, l.prefix().String())
	}
	want := []string{
		"0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.1.2.3/32", "192.0.2.1/32", "255.255.255.255/32",
		"::/0", "::1/128", "::a00:0/104", "2001:db8::/32", "2001:db8:0:1::/64", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if w.double != 2 || w.masked != 1 || w.bad != 0 {
		t.Errorf("%d double, %d masked, %d bad; want 2, 1, 0", w.double, w.masked, w.bad)
	}
	// Of lines with the same prefix the first is the one that is named.
	if i := slices.IndexFunc(w.lines, func(l wantedLine) bool { return l.prefix() == netip.MustParsePrefix("10.0.0.0/8") }); w.lines[i].line != 4 {
		t.Errorf("10.0.0.0/8 is said to be in line %d, want 4", w.lines[i].line)
	}
}
