package policy

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
)

// IsWide reports whether p is wider than the guard accepts for a block. An allow of such a
// prefix turns filtering off for a large part of the address space.
func IsWide(p netip.Prefix) bool { return p.Bits() < widestFor(p) }

// noteWide notes that the site of an allow came or went.
func (b *Book) noteWide(s site, exists bool) {
	switch {
	case s.kind != Allow || !IsWide(s.prefix):
	case exists:
		b.wide[s.prefix] = true
	default:
		delete(b.wide, s.prefix)
	}
}

// WideAllows returns the wide allows that are in force at boot time now, in the order of
// their prefixes.
func (b *Book) WideAllows(now Deadline) []Entry {
	var found []Entry
	for p := range b.wide {
		for e := range b.At(Allow, p) {
			if e.Live(now) {
				found = append(found, e)
			}
		}
	}
	slices.SortFunc(found, func(x, y Entry) int {
		return cmp.Or(comparePrefix(x.Prefix, y.Prefix), cmp.Compare(x.Origin, y.Origin))
	})
	return found
}

// ShareOf returns the part of a family's address space that prefixes cover, from 0 to 1.
// entries are in the order of their prefixes.
func ShareOf(f Family, entries []Entry) float64 {
	share := 0.0
	var last netip.Prefix
	for _, e := range entries {
		if FamilyOf(e.Prefix.Addr()) != f || covers(last, e.Prefix) {
			continue
		}
		last = e.Prefix
		share += math.Exp2(-float64(e.Prefix.Bits()))
	}
	return share
}
