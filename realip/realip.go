// Package realip finds the client of an HTTP request that came through proxies.
//
// A header is the word of the peer that sent it. So headers count only if the peer is a
// trusted proxy. The entries are read from the right, because each proxy appends the address
// that it saw. The first entry that is not a trusted proxy is the client. An entry that
// cannot be read ends the walk with nobody: everything to the left of it may be the
// client's own choice.
package realip

import (
	"net/netip"
	"slices"
	"strings"
)

// Header is one header line of a request.
type Header struct{ Name, Value string }

// Rules say which peers and headers count.
type Rules struct {
	Proxies []netip.Prefix // the trusted proxies
	Clients []netip.Prefix // never proxies, and clients even if the address is reserved
	Unix    bool           // a peer without an address, as on a Unix socket, is a trusted proxy
	Headers []string       // the headers that count; none: all known ones

	// TrustPeer takes every peer for a proxy, whatever its address, and skips entries that
	// are reserved or cannot be read. This is the behaviour of the Elixir library remote_ip.
	// If clients can reach the server without a proxy, each can name any client it likes.
	TrustPeer bool
}

// longest is the size of the longest header line that is read. A longer one is an entry that
// cannot be read. Common servers refuse a request with so long a line.
const longest = 64 << 10

// Client returns the client of a request that came from peer. It returns false if nobody can
// be named. A peer on a Unix socket is the zero Addr.
func (r Rules) Client(peer netip.Addr, headers []Header) (netip.Addr, bool) {
	if r.TrustPeer {
		return r.lenient(headers)
	}
	peer = peer.Unmap()
	switch {
	case !peer.IsValid() && !r.Unix:
		return netip.Addr{}, false
	case peer.IsValid() && !r.isProxy(peer):
		return peer, true
	}
	return r.strict(headers)
}

// strict reads the headers of a trusted proxy. If there are several kinds of header, all must
// name the same client, because a proxy passes on those that it does not write itself.
func (r Rules) strict(headers []Header) (client netip.Addr, found bool) {
	for _, name := range r.names() {
		lines := values(headers, name)
		if len(lines) == 0 {
			continue
		}
		c, ok := r.strictOne(name, lines)
		if !ok || found && c != client {
			return netip.Addr{}, false
		}
		client, found = c, true
	}
	return client, found
}

// strictOne reads the lines of one header.
func (r Rules) strictOne(name string, lines []string) (netip.Addr, bool) {
	var entries []entry
	for _, line := range lines {
		entries = append(entries, parse(name, line)...)
	}
	if isSingle(name) && len(entries) != 1 {
		return netip.Addr{}, false
	}
	for _, e := range slices.Backward(entries) {
		switch {
		case !e.ok:
			return netip.Addr{}, false
		case contains(r.Clients, e.addr):
			return e.addr, true
		case contains(r.Proxies, e.addr):
			continue
		}
		return e.addr, !isReserved(e.addr)
	}
	return netip.Addr{}, false
}

// lenient reads all headers as one list.
func (r Rules) lenient(headers []Header) (netip.Addr, bool) {
	names := r.Headers
	if len(names) == 0 {
		names = []string{forwarded, "x-forwarded-for", "x-client-ip", "x-real-ip"}
	}
	for _, h := range slices.Backward(headers) {
		counts := slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, h.Name) })
		if !counts {
			continue
		}
		for _, e := range slices.Backward(parse(h.Name, h.Value)) {
			switch {
			case !e.ok:
			case contains(r.Clients, e.addr):
				return e.addr, true
			case !contains(r.Proxies, e.addr) && !isPrivate(e.addr):
				return e.addr, true
			}
		}
	}
	return netip.Addr{}, false
}

func (r Rules) names() []string {
	if len(r.Headers) > 0 {
		return r.Headers
	}
	return append([]string{forwarded, "x-forwarded-for"}, singles()...)
}

func (r Rules) isProxy(a netip.Addr) bool {
	return contains(r.Proxies, a) && !contains(r.Clients, a)
}

// singles returns the headers that hold one address, and that a proxy replaces.
func singles() []string {
	return []string{
		"x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip",
		"cf-connecting-ip", "cf-connecting-ipv6", "fastly-client-ip", "fly-client-ip",
		"x-azure-clientip", "x-appengine-user-ip", "x-envoy-external-address",
	}
}

func isSingle(name string) bool {
	return slices.ContainsFunc(singles(), func(s string) bool { return strings.EqualFold(s, name) })
}

// values returns the lines of the header called name, in order.
func values(headers []Header, name string) (lines []string) {
	for _, h := range headers {
		if strings.EqualFold(h.Name, name) {
			lines = append(lines, h.Value)
		}
	}
	return lines
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// isPrivate reports whether a is a loopback or private address.
func isPrivate(a netip.Addr) bool { return a.IsLoopback() || a.IsPrivate() }

// isReserved reports whether a cannot be the address of a client on the Internet.
func isReserved(a netip.Addr) bool {
	if a.Is4() {
		b := a.As4()
		// This network, shared address space of providers, multicast and above.
		if b[0] == 0 || b[0] == 100 && b[1]&0xc0 == 64 || b[0] >= 224 {
			return true
		}
	}
	return isPrivate(a) || a.IsUnspecified() || a.IsLinkLocalUnicast() || a.IsMulticast()
}
