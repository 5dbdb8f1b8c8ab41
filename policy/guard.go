package policy

import (
	"fmt"
	"net/netip"

	"github.com/gaissmai/bart"
)

// The shortest prefix lengths that the guard accepts: a typing error such as
// 1.2.3.4/3 must not cut off a continent.
const (
	WidestIPv4 = 8
	WidestIPv6 = 16
)

// Guard refuses blocks that would cut off the operator. It is immutable and safe
// for concurrent use.
type Guard struct {
	protected bart.Table[string]
	narrow    bart.Table[string]
	sessions  bart.Table[string]
}

// Protected is a prefix that must not be blocked, with a description that
// continues "covers ADDRESS, ": "the gateway of eth0".
type Protected struct {
	Prefix netip.Prefix
	What   string

	// Session marks the address of an open session. A wider prefix that contains it
	// may be blocked, if the address is spared by an allow.
	Session bool

	// Narrow protects the prefix only from blocks of itself and of parts of it. A wider block may
	// cover it.
	Narrow bool
}

// NewGuard returns a guard for the addresses that every host needs and the prefixes given. Of equal
// prefixes, the first one counts.
func NewGuard(protected []Protected) *Guard {
	g := new(Guard)
	for _, p := range append(alwaysProtected(), protected...) {
		prefix, err := normalise(p.Prefix)
		if err != nil {
			continue
		}
		table := &g.protected
		switch {
		case p.Session:
			table = &g.sessions
		case p.Narrow:
			table = &g.narrow
		}
		table.Modify(prefix, func(what string, exists bool) (string, bool) {
			if exists {
				return what, false
			}
			return p.What, false
		})
	}
	return g
}

// Refusal is the guard's reason to refuse one block.
type Refusal struct {
	Prefix netip.Prefix
	Cause  string // "covers 192.0.2.1, the gateway of eth0"
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s %s", r.Prefix, r.Cause)
}

// Check returns the refusal of a block of p, or nil. p must be masked and
// unmapped.
func (g *Guard) Check(p netip.Prefix) *Refusal {
	if refusal := CheckWidth(p); refusal != nil {
		return refusal
	}
	return g.CheckProtected(p)
}

// CheckWidth returns the refusal of a prefix that is too wide, or nil.
func CheckWidth(p netip.Prefix) *Refusal {
	if IsWide(p) {
		return &Refusal{p, fmt.Sprintf("is wider than /%d", widestFor(p))}
	}
	return nil
}

// CheckProtected is Check for a prefix of any width.
func (g *Guard) CheckProtected(p netip.Prefix) *Refusal {
	if what, ok := g.sessions.Get(p); ok {
		return &Refusal{p, fmt.Sprintf("covers %s, %s", short(p), what)}
	}
	var first netip.Prefix
	covered := 0
	for inside := range g.protected.Subnets(p) {
		if covered == 0 {
			first = inside
		}
		covered++
	}
	switch covered {
	case 0:
		if outside, what, ok := g.protected.LookupPrefixLPM(p); ok {
			return &Refusal{p, fmt.Sprintf("is part of %s, %s", short(outside), what)}
		}
		if same, what, ok := g.narrow.LookupPrefixLPM(p); ok {
			return &Refusal{p, fmt.Sprintf("covers %s, %s", short(same), what)}
		}
		return nil
	case 1:
		what, _ := g.protected.Get(first)
		return &Refusal{p, fmt.Sprintf("covers %s, %s", short(first), what)}
	default:
		what, _ := g.protected.Get(first)
		return &Refusal{p, fmt.Sprintf("covers %s, %s, and %d more that must not be blocked",
			short(first), what, covered-1)}
	}
}

// Protects reports whether all of p is protected, and not only a part of it.
func (g *Guard) Protects(p netip.Prefix) bool {
	_, _, always := g.protected.LookupPrefixLPM(p)
	_, _, narrow := g.narrow.LookupPrefixLPM(p)
	return always || narrow
}

// Sessions returns the addresses of open sessions inside p, which an allow must spare
// if p is blocked.
func (g *Guard) Sessions(p netip.Prefix) []netip.Addr {
	var inside []netip.Addr
	for session := range g.sessions.Subnets(p) {
		inside = append(inside, session.Addr())
	}
	return inside
}

func widestFor(p netip.Prefix) int {
	if p.Addr().Is4() {
		return WidestIPv4
	}
	return WidestIPv6
}

// short writes a host prefix as an address.
func short(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
