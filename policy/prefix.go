package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ParsePrefix reads an address or a prefix in CIDR notation. An IPv4-mapped IPv6
// address means the IPv4 address. Host bits are cleared; masked reports whether
// there were any. Zones are refused, because an entry is for all interfaces.
func ParsePrefix(s string) (p netip.Prefix, masked bool, err error) {
	addr, length, isPrefix := strings.Cut(s, "/")
	a, err := ParseAddr(addr)
	if err != nil {
		return netip.Prefix{}, false, err
	}
	if !isPrefix {
		return netip.PrefixFrom(a, a.BitLen()), false, nil
	}
	mapped := strings.Contains(addr, ":") && a.Is4()
	limit := a.BitLen()
	if mapped {
		limit = 128
	}
	bits, ok := parseBits(length)
	if !ok || bits > limit {
		return netip.Prefix{}, false, fmt.Errorf("prefix %s: the length must be a number from 0 to %d", quote(s), limit)
	}
	if mapped {
		if bits < 96 {
			return netip.Prefix{}, false,
				fmt.Errorf("prefix %s: covers more than the IPv4-mapped addresses; write the IPv4 prefix", quote(s))
		}
		bits -= 96
	}
	p = netip.PrefixFrom(a, bits).Masked()
	return p, p.Addr() != a, nil
}

// ParseAddr reads an IPv4 or IPv6 address without a zone. An IPv4-mapped IPv6
// address means the IPv4 address.
func ParseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s is not an IPv4 or IPv6 address", quote(s))
	}
	if a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("address %s: has a zone; leave out %s", quote(s), quote("%"+a.Zone()))
	}
	return a.Unmap(), nil
}

// quote returns bad input for an error message: escaped, and cut at 50 bytes, which
// is longer than any address.
func quote(s string) string {
	const longest = 50
	if len(s) > longest {
		return strconv.Quote(s[:longest]) + "..."
	}
	return strconv.Quote(s)
}

// parseBits reads a prefix length. Unlike strconv.Atoi it refuses a sign and
// leading zeros.
func parseBits(s string) (int, bool) {
	if s == "" || len(s) > 3 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// normalise returns p as the book keeps it: unmapped and without host bits.
func normalise(p netip.Prefix) (netip.Prefix, error) {
	if !p.IsValid() || p.Addr().Zone() != "" {
		return netip.Prefix{}, errors.New("invalid prefix")
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("prefix %s: covers more than the IPv4-mapped addresses", p)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}
