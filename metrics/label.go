package metrics

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxOrigins bounds the series of paraxial_entries. Users choose origins freely,
// and each one would be a time series of its own.
const maxOrigins = 50

// otherOrigin is the label of all origins beyond maxOrigins.
const otherOrigin = "other"

// capOrigins sums the entries of all but the maxOrigins largest origins under
// otherOrigin. Among origins of equal size the first by name are kept. The results
// are label values. No two have the same kind, family and origin.
func capOrigins(entries []Entries) []Entries {
	kept := largestOrigins(entries)
	type series struct{ kind, family, origin string }
	sums := map[series]int{}
	var order []series
	for _, e := range entries {
		origin := label(e.Origin)
		if !kept[origin] {
			origin = otherOrigin
		}
		s := series{label(e.Kind), label(e.Family), origin}
		if _, seen := sums[s]; !seen {
			order = append(order, s)
		}
		sums[s] += e.Count
	}
	capped := make([]Entries, len(order))
	for i, s := range order {
		capped[i] = Entries{Kind: s.kind, Family: s.family, Origin: s.origin, Count: sums[s]}
	}
	return capped
}

func largestOrigins(entries []Entries) map[string]bool {
	size := map[string]int{}
	for _, e := range entries {
		size[label(e.Origin)] += e.Count
	}
	names := make([]string, 0, len(size))
	for name := range size {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(size[b], size[a]), cmp.Compare(a, b))
	})
	kept := map[string]bool{}
	for _, name := range names[:min(len(names), maxOrigins)] {
		kept[name] = true
	}
	return kept
}

// label returns s as a label value, which must be UTF-8. The kernel permits any
// bytes in the name of an interface. Bytes that are not UTF-8 become \xNN, so that
// different names stay different.
func label(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		if size := utf8.RuneLen(r); r != utf8.RuneError || strings.HasPrefix(s[i:], string(r)) {
			b.WriteString(s[i : i+size])
			continue
		}
		fmt.Fprintf(&b, `\x%02x`, s[i])
	}
	return b.String()
}
