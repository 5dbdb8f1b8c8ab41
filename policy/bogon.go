package policy

import (
	"net/netip"
	"slices"
)

// IsBogon reports whether an address is not one of the public Internet. Addresses for
// documentation are not among them: nobody uses them, and people try things out with them.
func IsBogon(a netip.Addr) bool {
	if a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() {
		return true
	}
	if !a.Is4() {
		b := a.As16()
		return b[0]&0xe0 != 0x20 // not in 2000::/3
	}
	b := a.As4()
	return b[0] == 0 || b[0] >= 240 || b[0] == 100 && b[1]&0xc0 == 64
}

// HasBogon reports whether a prefix contains an address that is not one of the public Internet.
func HasBogon(p netip.Prefix) bool {
	if IsBogon(p.Addr()) || p.Bits() < 3 { // 2000::/3 is the public Internet of IPv6
		return true
	}
	if !p.Addr().Is4() || p.Bits() >= 16 { // as long as the longest of those below
		return false
	}
	return slices.ContainsFunc([]netip.Addr{
		netip.AddrFrom4([4]byte{10}), netip.AddrFrom4([4]byte{100, 64}), netip.AddrFrom4([4]byte{127}),
		netip.AddrFrom4([4]byte{169, 254}), netip.AddrFrom4([4]byte{172, 16}), netip.AddrFrom4([4]byte{192, 168}),
		netip.AddrFrom4([4]byte{224}),
	}, p.Contains)
}
