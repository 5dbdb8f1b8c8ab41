package feeds

import (
	"fmt"
	"net/netip"
)

// notPublic lists networks, beside those that netip knows, in which no server on the
// internet is.
func notPublic() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),
		netip.MustParsePrefix("100.64.0.0/10"), // shared by customers of a provider
		netip.MustParsePrefix("192.0.0.0/24"),
		netip.MustParsePrefix("198.18.0.0/15"), // benchmarks
		netip.MustParsePrefix("240.0.0.0/4"),
		netip.MustParsePrefix("64:ff9b:1::/48"), // translation inside a network
		netip.MustParsePrefix("100::/64"),
		netip.MustParsePrefix("2001::/32"), // Teredo
		netip.MustParsePrefix("fec0::/10"), // site-local, deprecated
	}
}

// checkPublic returns an error if a is not an address of the internet.
func checkPublic(a netip.Addr) error {
	inner := embedded(a)
	bad := inner.IsPrivate() || inner.IsLoopback() || inner.IsLinkLocalUnicast() || inner.IsMulticast() ||
		inner.IsUnspecified()
	for _, p := range notPublic() {
		bad = bad || p.Contains(inner)
	}
	if bad {
		return fmt.Errorf("%s is not an address of the internet; if it is meant, set private: true", a)
	}
	return nil
}

// embedded returns the IPv4 address to which a leads if it is mapped, or one of NAT64 or
// 6to4, and otherwise a.
func embedded(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a
	}
	b := a.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(a):
		return netip.AddrFrom4([4]byte(b[12:]))
	case netip.MustParsePrefix("2002::/16").Contains(a):
		return netip.AddrFrom4([4]byte(b[2:]))
	case netip.MustParsePrefix("::/96").Contains(a) && !a.IsLoopback() && !a.IsUnspecified():
		return netip.AddrFrom4([4]byte(b[12:])) // compatible, deprecated
	}
	return a
}

// special lists networks whose addresses no list on the internet can mean: on this host
// they are somebody else.
func special() []netip.Prefix {
	var all []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.168.0.0/16", "224.0.0.0/3", "::/96", "::ffff:0:0/96", "fc00::/7", "fe80::/10", "ff00::/8",
	} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// isSpecial reports whether p is inside one of nets, or is a whole family.
func isSpecial(p netip.Prefix, nets []netip.Prefix) bool {
	if p.Bits() == 0 {
		return true
	}
	for _, s := range nets {
		if s.Bits() <= p.Bits() && s.Contains(p.Addr()) {
			return true
		}
	}
	return false
}
