package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Lines are returned unchanged, in the order of the book, each once.
func TestReadList(t *testing.T) {
	list := "2001:db8::/32\n255.255.255.255\n::1\n10.0.0.0/8\n10.0.0.0/9\n10.1.2.3 # why\n0.0.0.0/0\n" +
		"2001:db8:0:1::/64\n::ffff:192.0.2.1\n10.0.0.0/8\n" +
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n::/0\n10.9.9.9/8\n::a00:0/104\n"
	w, err := ReadList(strings.NewReader(list), 100, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range w.lines.all() {
		got = append(got, l.prefix.String())
	}
	want := []string{
		"0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.1.2.3/32", "192.0.2.1/32", "255.255.255.255/32",
		"::/0", "::1/128", "::a00:0/104", "2001:db8::/32", "2001:db8:0:1::/64",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if w.repeated != 2 || w.masked != 1 || w.bad != 0 {
		t.Errorf("%d double, %d masked, %d bad; want 2, 1, 0", w.repeated, w.masked, w.bad)
	}
	// Of lines with the same prefix, the first one is reported.
	ten := netip.MustParsePrefix("10.0.0.0/8")
	if i, ok := w.lines.find(ten); !ok || w.lines.at(i).number != 4 {
		t.Errorf("10.0.0.0/8 is said to be in line %d, want 4", w.lines.at(i).number)
	}
}

// An endless list of repeated lines needs no memory for them; a list that is too long is refused
// before all of it is in memory.
func TestReadListIsBounded(t *testing.T) {
	const most = 50
	var list strings.Builder
	for i := range 100 * most {
		fmt.Fprintf(&list, "10.0.0.%d\n", i%most)
	}
	w, err := ReadList(strings.NewReader(list.String()), most, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	if w.Len() != most || w.repeated != 99*most || w.lines.at(most-1).number != most {
		t.Errorf("%d lines, %d double, the last is line %d; want %d, %d, %d", w.Len(), w.repeated,
			w.lines.at(most-1).number, most, 99*most, most)
	}
	fmt.Fprintln(&list, "10.0.1.1")
	if _, err := ReadList(strings.NewReader(list.String()), most, func(int) {}); !errors.Is(err, ErrFull) {
		t.Errorf("a prefix over the capacity: %v", err)
	}
	read := 0
	_, err = ReadList(endless{&read}, most, func(int) {})
	if !errors.Is(err, ErrFull) || read > 1<<20 {
		t.Errorf("a list of different prefixes without end: %v, after %d bytes", err, read)
	}
}

// endless is a list of different prefixes.
type endless struct{ read *int }

func (e endless) Read(b []byte) (int, error) {
	*e.read++
	n := copy(b, fmt.Sprintf("10.%d.%d.%d\n", *e.read>>16&255, *e.read>>8&255, *e.read&255))
	return n, nil
}
