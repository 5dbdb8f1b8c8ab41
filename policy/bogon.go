package policy

import "net/netip"

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
