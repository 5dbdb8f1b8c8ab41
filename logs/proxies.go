package logs

import (
	"bytes"
	"net/netip"
	"slices"

	"github.com/paraxial/paraxial/match"
	"github.com/paraxial/paraxial/realip"
)

// proxies finds the client behind a proxy.
type proxies struct {
	rules  realip.Rules
	ranges []span // in order, without overlap
}

// span are the addresses of a prefix.
type span struct{ first, last netip.Addr }

func newProxies(list []netip.Prefix) *proxies {
	p := &proxies{rules: realip.Rules{Proxies: list}}
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		if c := a.Masked().Addr().Compare(b.Masked().Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	for _, x := range sorted {
		s := span{x.Masked().Addr(), lastOf(x)}
		// A prefix is inside the one before it, or behind it.
		if n := len(p.ranges); n == 0 || p.ranges[n-1].last.Less(s.first) {
			p.ranges = append(p.ranges, s)
		}
	}
	return p
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// has reports whether a is a proxy.
func (p *proxies) has(a netip.Addr) bool {
	i, found := slices.BinarySearchFunc(p.ranges, a, func(s span, a netip.Addr) int { return s.first.Compare(a) })
	if !found {
		i--
	}
	return i >= 0 && !p.ranges[i].last.Less(a)
}

// client returns the client of a request that came from peer. It returns false if nobody can be
// named.
func (p *proxies) client(peer netip.Addr, r match.Request) (netip.Addr, bool) {
	if !p.has(peer) {
		return peer, true
	}
	if len(r.Forwarded) == 0 {
		return peer, false
	}
	// The proxy adds the last part. Those before it may be the choice of the client.
	name, last := "x-forwarded-for", r.Forwarded[bytes.LastIndexByte(r.Forwarded, ',')+1:]
	if bytes.Contains(bytes.ToLower(last), []byte("for=")) {
		name = "forwarded"
	}
	return p.rules.Client(peer, []realip.Header{{Name: name, Value: string(r.Forwarded)}})
}
