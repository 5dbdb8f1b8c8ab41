package main

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/paraxial/paraxial/control"
)

// topOrder is one way to sort sources. Numbers are sorted from high to low.
type topOrder struct {
	name    string
	key     byte // that selects it
	compare func(x, y control.TopSource) int
}

// topOrders returns all orders, the default first.
func topOrders() []topOrder {
	most := func(of func(control.TopSource) float64) func(x, y control.TopSource) int {
		return func(x, y control.TopSource) int { return cmp.Compare(of(y), of(x)) }
	}
	least := func(of func(control.TopSource) string) func(x, y control.TopSource) int {
		return func(x, y control.TopSource) int { return cmp.Compare(of(x), of(y)) }
	}
	return []topOrder{
		{"share", 'r', most(func(s control.TopSource) float64 { return s.Share })},
		{"packets", 'p', most(func(s control.TopSource) float64 { return s.Packets })},
		{"bytes", 'b', most(func(s control.TopSource) float64 { return s.Bytes })},
		{"source", 's', compareSources},
		{"detector", 'd', least(func(s control.TopSource) string { return s.Nearest })},
		{"verdict", 'v', least(func(s control.TopSource) string { return s.Verdict })},
		{"age", 'a', func(x, y control.TopSource) int { return x.Since.Compare(y.Since) }},
	}
}

// compareSources orders by address. It orders by text if one of them is not a
// prefix.
func compareSources(x, y control.TopSource) int {
	p, errP := netip.ParsePrefix(x.Source)
	q, errQ := netip.ParsePrefix(y.Source)
	if errP != nil || errQ != nil {
		return cmp.Compare(x.Source, y.Source)
	}
	return cmp.Or(p.Addr().Compare(q.Addr()), cmp.Compare(p.Bits(), q.Bits()))
}

// sortSources returns sources in an order. Equal ones are sorted by share, then by
// address, so that none changes its place without a reason.
func sortSources(all []control.TopSource, o topOrder, reversed bool) []control.TopSource {
	return slices.SortedFunc(slices.Values(all), func(x, y control.TopSource) int {
		first := o.compare(x, y)
		if reversed {
			first = -first
		}
		return cmp.Or(first, cmp.Compare(y.Share, x.Share), compareSources(x, y))
	})
}

func orderNames() (names []string) {
	for _, o := range topOrders() {
		names = append(names, o.name)
	}
	return names
}

func orderNamed(name string) (topOrder, bool) {
	for _, o := range topOrders() {
		if o.name == name {
			return o, true
		}
	}
	return topOrder{}, false
}

// keyHelp returns the help for the keys that sort.
func keyHelp() string {
	var words []string
	for _, o := range topOrders() {
		words = append(words, string(o.key)+" "+o.name)
	}
	return "sort by " + strings.Join(words, ", ")
}
