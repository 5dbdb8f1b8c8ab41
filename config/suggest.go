package config

import (
	"fmt"
	"slices"
	"strings"
)

// suggest returns the key that may be meant by the unknown key full, or the keys that
// its section accepts.
func suggest(full, section string, keys []key) string {
	accepted := names(section, keys)
	// Allow one mistake in a short word and two in a long one.
	best, distance := "", min(2, max(1, (len(full)-len(section))/3))+1
	for _, name := range accepted {
		if d := editDistance(full, section+name); d < distance {
			best, distance = section+name, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	for _, k := range keys {
		if strings.HasSuffix(k.name, "."+full) {
			return fmt.Sprintf("did you mean %q, a key below %q?", full, strings.TrimSuffix(k.name, "."+full))
		}
	}
	return "accepted here: " + strings.Join(accepted, ", ")
}

// names returns the keys and sections directly below section, in order.
func names(section string, keys []key) []string {
	var names []string
	for _, k := range keys {
		rest, ok := strings.CutPrefix(k.name, section)
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, ".")
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// editDistance returns the number of bytes to insert, delete, change or swap with their
// neighbour to get from a to b (optimal string alignment). If a is much longer than b,
// it returns the length of a.
func editDistance(a, b string) int {
	if len(a) > 2*len(b)+2 {
		return len(a)
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
