package events

import (
	"net/netip"
	"strings"
	"testing"
)

// TestEnds: the end of a connection counts only if no failure has counted for it.
func TestEnds(t *testing.T) {
	one := netip.MustParseAddr("198.51.100.9")
	for _, tc := range []struct {
		events string // f: a failure; e: the end of a connection; o: the end of one of another source
		want   int    // points
	}{
		{"f", 1}, {"fe", 1}, {"fee", 1}, {"feee", 2}, {"e", 1}, {"ee", 1}, {"eee", 2}, {"fffe", 3}, {"ffeeee", 2},
		{"fo", 1}, {"ofee", 1}, {"foe", 1}, {strings.Repeat("f", 100) + strings.Repeat("e", maxEnds), 100},
		{strings.Repeat("f", 100) + strings.Repeat("e", maxEnds+1), 101},
	} {
		c := counter(t, Options{}, rule(func(r *Rule) { r.Limit = 1000 }))
		points := 0
		for n, kind := range tc.events {
			e := Event{Address: one, Rule: "login", End: kind != 'f'}
			if kind == 'o' {
				e.Address = one.Next()
			}
			o := c.Add(start, e)
			if kind != 'o' {
				points = o.Points
			}
			if o.Result != Counted && o.Result != Ended {
				t.Errorf("%.80s: event %d is %s", tc.events, n, o.Result)
			}
		}
		if points != tc.want {
			t.Errorf("%.80s counts %d, want %d", tc.events, points, tc.want)
		}
	}
}
