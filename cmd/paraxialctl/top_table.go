package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/paraxial/paraxial/control"
)

// topColumn is a column of the table of sources.
type topColumn struct {
	title string
	need  int  // columns with a higher value are hidden first
	least int  // width; a minimum, so that the table does not move with every number
	most  int  // width; 0: no maximum
	right bool // aligned to the right, for numbers
	cell  func(control.TopSource) string
}

// columns returns all columns, from left to right. Without a source in a set, there is no
// column for sets.
func (v *topView) columns() []topColumn {
	all := []topColumn{
		{"SOURCE", 0, 15, 43, false, func(s control.TopSource) string { return sourceText(s.Source) }},
		{"DETECTOR", 5, 8, 16, false, func(s control.TopSource) string { return s.Nearest }},
		{"RATE", 1, 10, 10, true, func(s control.TopSource) string { return shortRate(s.Rates[s.Nearest]) }},
		{"SHARE", 2, 5, 0, true, func(s control.TopSource) string { return shareText(s.Share) }},
		{"TREND", 4, shareMemory, 0, false, func(s control.TopSource) string { return v.trend(s.Source) }},
		{"VERDICT", 3, 7, 8, false, func(s control.TopSource) string { return s.Verdict }},
		{"PACKETS", 6, 7, 0, true, func(s control.TopSource) string { return perSecond(s.Packets, "") }},
		{"BITS", 7, 10, 0, true, func(s control.TopSource) string { return perSecond(8*s.Bytes, "bit") }},
		{"AGE", 8, 4, 0, true, func(s control.TopSource) string { return since(v.last.Time, s.Since) }},
		{"PORTS", 9, 5, 24, false, func(s control.TopSource) string {
			return strings.ReplaceAll(portList(s.Ports), " ", "")
		}},
		{"TAGS", 10, 4, 24, false, func(s control.TopSource) string { return strings.Join(s.Tags, ",") }},
		{"OTHER RATES", 11, 11, 60, false, otherRates},
	}
	if !slices.ContainsFunc(v.last.Sources, func(s control.TopSource) bool { return len(s.Tags) > 0 }) {
		all = slices.DeleteFunc(all, func(c topColumn) bool { return c.title == "TAGS" })
	}
	return all
}

// table returns the head and a line for every source, with the columns that fit
// into width. A width of 0 fits all columns.
func (v *topView) table(sources []control.TopSource, width int) []string {
	columns := v.columns()
	cells := make([][]string, len(columns))
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = max(c.least, len(c.title))
		for _, s := range sources {
			text := cmp.Or(printable(c.cell(s)), "-")
			if c.most > 0 {
				text = clip(text, c.most)
			}
			cells[i] = append(cells[i], text)
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	if width > 0 {
		v.keepWidths(columns, widths)
	}
	shown := fitting(columns, widths, width)
	line := func(text func(i int) string) string {
		var parts []string
		for _, i := range shown {
			parts = append(parts, align(text(i), widths[i], columns[i].right))
		}
		return strings.TrimRight(strings.Join(parts, "  "), " ")
	}
	lines := []string{line(func(i int) string { return columns[i].title })}
	for n := range sources {
		lines = append(lines, line(func(i int) string { return cells[i][n] }))
	}
	return lines
}

// keepWidths keeps columns at least as wide as before, so that the table does not
// jump with every source that comes and goes.
func (v *topView) keepWidths(columns []topColumn, widths []int) {
	if v.widths == nil {
		v.widths = make(map[string]int)
	}
	for i, c := range columns {
		widths[i] = max(widths[i], v.widths[c.title])
		v.widths[c.title] = widths[i]
	}
}

// fitting returns the columns that fit into width. It chooses those that are
// needed most.
func fitting(columns []topColumn, widths []int, width int) (shown []int) {
	byNeed := make([]int, len(columns))
	for i := range byNeed {
		byNeed[i] = i
	}
	slices.SortFunc(byNeed, func(x, y int) int { return cmp.Compare(columns[x].need, columns[y].need) })
	const gap = 2
	used := -gap
	for _, i := range byNeed {
		if width == 0 || used+gap+widths[i] <= width {
			used += gap + widths[i]
			shown = append(shown, i)
		}
	}
	slices.Sort(shown)
	return shown
}

// shareText returns the used part of a limit, such as 96% or 262x.
func shareText(share float64) string {
	if share < 9.995 {
		return fmt.Sprintf("%.0f%%", share*100)
	}
	return fmt.Sprintf("%.0fx", share)
}

// otherRates returns the rates of a source for the detectors whose limit is not
// the nearest.
func otherRates(s control.TopSource) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(s.Rates)) {
		if name != s.Nearest {
			words = append(words, name+"="+shortRate(s.Rates[name]))
		}
	}
	return strings.Join(words, " ")
}

// trend returns how the share of a source has changed.
func (v *topView) trend(source string) string {
	shares := v.shares[source]
	if v.sparks {
		return sparkline(shares)
	}
	const noise = 0.05 // smaller changes do not count
	if len(shares) < 2 {
		return ""
	}
	before, now := shares[len(shares)-2], shares[len(shares)-1]
	switch {
	case now > before*(1+noise):
		return "up"
	case now < before*(1-noise):
		return "down"
	}
	return "steady"
}

// sparkline draws shares. The highest bar is the limit, or the largest share if
// that is above the limit.
func sparkline(shares []float64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	top := 1.0
	for _, s := range shares {
		top = max(top, s)
	}
	line := make([]rune, len(shares))
	for i, s := range shares {
		line[i] = bars[min(max(int(s/top*float64(len(bars))), 0), len(bars)-1)]
	}
	return string(line)
}

func align(text string, width int, right bool) string {
	space := strings.Repeat(" ", max(width-utf8.RuneCountInString(text), 0))
	if right {
		return space + text
	}
	return text + space
}

func pad(text string, width int) string { return align(text, width, false) }

// clip cuts text to width. A "~" at its end marks the cut.
func clip(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	runes := []rune(text)
	if width < 1 {
		return ""
	}
	return string(runes[:width-1]) + "~"
}
