package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"
)

// The plot, in pixels: two panels side by side, both axes logarithmic.
const (
	panelWidth, panelHeight = 400, 360
	left, top               = 56, 40
	plotWidth, plotHeight   = 320, 260
	leastNS, mostNS         = 20, 2000
)

type curve struct {
	name, color, dash string
	traffic           string
	ns                func(packetRow) float64
}

func curves() []curve {
	lpm := func(r packetRow) float64 { return r.LPM }
	index := func(r packetRow) float64 { return r.Index }
	return []curve{
		{"LPM only, blocked", "#b2182b", "", blocked, lpm},
		{"LPM only, clean", "#b2182b", "5 3", clean, lpm},
		{"Paraxial, blocked", "#2166ac", "", blocked, index},
		{"Paraxial, clean", "#2166ac", "5 3", clean, index},
		{"floor: parse and count", "#777777", "2 2", clean, func(r packetRow) float64 { return r.Floor }},
	}
}

// plot draws the cost of a packet against the number of entries.
func (r *report) plot() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b,
		`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n",
		2*panelWidth, panelHeight+50)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for i, m := range []mix{mixIPv4, mixUniform} {
		fmt.Fprintf(&b, `<g transform="translate(%d 0)">`+"\n", i*panelWidth)
		r.panel(&b, m)
		b.WriteString("</g>\n")
	}
	for i, c := range curves() {
		x, y := left+i%3*250, panelHeight+14+i/3*18
		fmt.Fprintf(&b, `<path d="M%d %dh28" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`, x, y, c.color,
			c.dash)
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n", x+34, y+4, c.name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (r *report) panel(b *bytes.Buffer, m mix) {
	sizes := r.sizes(m)
	if len(sizes) == 0 {
		return
	}
	least, most := float64(sizes[0]), float64(sizes[len(sizes)-1])
	x := func(entries float64) float64 { return left + plotWidth*fraction(entries, least, most) }
	y := func(ns float64) float64 { return top + plotHeight*(1-fraction(ns, leastNS, mostNS)) }
	fmt.Fprintf(b, `<text x="%d" y="24" font-size="13">%s: ns per packet</text>`+"\n", left, m)
	for _, ns := range []float64{20, 50, 100, 200, 500, 1000, 2000} {
		fmt.Fprintf(b, `<path d="M%d %.1fh%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%.0f</text>`+"\n",
			left, y(ns), plotWidth, left-6, y(ns)+4, ns)
	}
	for _, n := range sizes {
		fmt.Fprintf(b, `<path d="M%.1f %dv%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n",
			x(float64(n)), top, plotHeight, x(float64(n)), top+plotHeight+16, n)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">entries</text>`+"\n", left+plotWidth/2, top+plotHeight+34)
	for _, c := range curves() {
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="2" stroke-dasharray="%s" points="`, c.color,
			c.dash)
		for _, n := range sizes {
			if row, ok := r.find(m, n, c.traffic); ok {
				fmt.Fprintf(b, "%.1f,%.1f ", x(float64(n)), y(c.ns(row)))
			}
		}
		b.WriteString(`"/>` + "\n")
	}
}

// fraction returns the position of v between least and most on a logarithmic scale, 0 to 1.
func fraction(v, least, most float64) float64 {
	if least == most {
		return 0
	}
	return math.Log(v/least) / math.Log(most/least)
}

func (r *report) sizes(m mix) []int {
	var sizes []int
	for _, row := range r.Packets {
		if row.Mix == m {
			sizes = append(sizes, row.Entries)
		}
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}
