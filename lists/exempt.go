package lists

import (
	"net/netip"
	"slices"
)

// exemptAll takes the exemptions out of the entries.
func (o *sink) exemptAll() error {
	if len(o.exempt) == 0 {
		return nil
	}
	t := newExemptions(o.exempt)
	var out []Entry
	// A repeated prefix is left out, so that each exemption is inside at most 128 entries.
	seen := make(map[netip.Prefix]bool, len(o.list.Entries))
	for _, e := range o.list.Entries {
		if seen[e.Prefix] {
			continue
		}
		seen[e.Prefix] = true
		if o.rule == narrowerCounts && t.coversWhole(e) {
			continue
		}
		holes := t.inside(e, o.rule)
		if o.rule == firstCounts && t.coversBefore(e) {
			continue
		}
		if len(holes) == 0 {
			out = append(out, e)
			continue
		}
		is4 := e.Prefix.Addr().Is4()
		for _, p := range spanOf(e.Prefix).without(holes, is4) {
			if len(out) >= MaxPrefixes {
				return ErrTooMany
			}
			out = append(out, Entry{p, e.Line, e.Until, e.Reason})
		}
	}
	o.list.Entries = out
	return nil
}

// exemptions finds exemptions by their prefix.
type exemptions struct {
	first  map[netip.Prefix]int // line of the first exemption of each prefix
	sorted []netip.Prefix
}

func newExemptions(all []Entry) exemptions {
	t := exemptions{first: make(map[netip.Prefix]int, len(all))}
	for _, e := range all {
		if line, ok := t.first[e.Prefix]; ok && line <= e.Line {
			continue
		} else if !ok {
			t.sorted = append(t.sorted, e.Prefix)
		}
		t.first[e.Prefix] = e.Line
	}
	slices.SortFunc(t.sorted, comparePrefix)
	return t
}

func comparePrefix(x, y netip.Prefix) int {
	if c := x.Addr().Compare(y.Addr()); c != 0 {
		return c
	}
	return x.Bits() - y.Bits()
}

// coversWhole reports whether the very prefix of e is exempt.
func (t exemptions) coversWhole(e Entry) bool {
	_, ok := t.first[e.Prefix]
	return ok
}

// coversBefore reports whether an exemption of an earlier line contains e.
func (t exemptions) coversBefore(e Entry) bool {
	for bits := e.Prefix.Bits(); bits >= 0; bits-- {
		line, ok := t.first[netip.PrefixFrom(e.Prefix.Addr(), bits).Masked()]
		if ok && line < e.Line {
			return true
		}
	}
	return false
}

// inside returns the exemptions inside e that count.
func (t exemptions) inside(e Entry, r rule) []span {
	from, _ := slices.BinarySearchFunc(t.sorted, e.Prefix, comparePrefix)
	var holes []span
	for _, p := range t.sorted[from:] {
		if !e.Prefix.Contains(p.Addr()) {
			break
		}
		if r == narrowerCounts || t.first[p] < e.Line {
			holes = append(holes, spanOf(p))
		}
	}
	return holes
}
