package churn

import (
	"maps"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// model holds all acknowledged entries that can cover a source.
type model map[policy.Key]held

// held is an entry, and the time when it has certainly ended, if it ends during the test.
type held struct {
	policy.Entry
	over time.Time
}

func (h held) ends() bool { return !h.over.IsZero() }

// change is the effect of one request on the model, all or nothing.
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

// known returns the verdict on a source if it does not depend on which of the expiring entries have
// already ended.
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

// keeps reports whether all sources still match their class after a change.
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

// lapsed returns a change that removes the expired entries.
func (m model) lapsed(now time.Time) change {
	var c change
	for k, h := range m {
		if h.ends() && h.over.Before(now) {
			c.remove = append(c.remove, k)
		}
	}
	return c
}
