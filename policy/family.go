package policy

import (
	"fmt"
	"net/netip"
)

// Family is the address family of a prefix. Each has tries and an index of its own.
type Family uint8

// The families, in the order in which prefixes are sorted.
const (
	IPv4 Family = iota
	IPv6
)

// Families returns all families in order.
func Families() [2]Family { return [...]Family{IPv4, IPv6} }

// FamilyOf returns the family of an address. An IPv4-mapped IPv6 address is IPv6:
// unmap it first if the IPv4 address is meant.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

func (f Family) String() string {
	switch f {
	case IPv4:
		return "ipv4"
	case IPv6:
		return "ipv6"
	}
	return fmt.Sprintf("family(%d)", uint8(f))
}
