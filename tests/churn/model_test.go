package churn

import (
	"maps"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// model is what the daemon has acknowledged of all that can cover a source.
type model map[policy.Key]held

// held is an entry, and when it is surely over if it ends in the course of the
// test.
type held struct {
	policy.Entry
	over time.Time
}

func (h held) ends() bool { return !h.over.IsZero() }

// change is what one request does to the model, all or nothing.
type change struct {
	put    []held
	remove []policy.Key
}

func (c change) covers(a netip.Addr) bool {
	for _, h := range c.put {
		if h.Prefix.Contains(a) {
			return true
		}
	}
	for _, k := range c.remove {
		if k.Prefix.Contains(a) {
			return true
		}
	}
	return false
}

func (m model) after(c change) model {
	after := maps.Clone(m)
	for _, k := range c.remove {
		delete(after, k)
	}
	for _, h := range c.put {
		after[h.Key()] = h
	}
	return after
}

// known returns the verdict on a source if it is the same whichever of the entries
// that end have ended.
func (m model) known(src netip.Addr) checkSettled {
	var allow, perhapsAllow, drop, perhapsDrop bool
	for _, h := range m {
		if !h.Prefix.Contains(src) {
			continue
		}
		allow = allow || h.Kind == policy.Allow && !h.ends()
		perhapsAllow = perhapsAllow || h.Kind == policy.Allow
		drop = drop || h.Action == policy.Drop && !h.ends()
		perhapsDrop = perhapsDrop || h.Action == policy.Drop
	}
	switch {
	case drop && !perhapsAllow:
		return checkSettledDROPS
	case allow || !perhapsDrop:
		return checkSettledPASSES
	}
	return checkSettledUNSETTLED
}

// keeps tells whether a change leaves all sources as their class says.
func (m model) keeps(w *world, c change) bool {
	after := m.after(c)
	for _, s := range w.sources {
		if s.class != checkClassCHANGING && c.covers(s.addr) && after.known(s.addr) != s.class.known() {
			return false
		}
	}
	return true
}

func (c checkClass) known() checkSettled {
	if c == checkClassLISTED {
		return checkSettledDROPS
	}
	return checkSettledPASSES
}

// lapsed returns the removal of what is over.
func (m model) lapsed(now time.Time) change {
	var c change
	for k, h := range m {
		if h.ends() && h.over.Before(now) {
			c.remove = append(c.remove, k)
		}
	}
	return c
}
