package match

import "net/netip"

// longestAddress is the length of the longest address and zone that are read.
const longestAddress = 80

// addressEnd returns the end of the bytes from start on that may be part of an address, with a
// zone.
func addressEnd(text []byte, start int) int {
	end := start
	last := min(len(text), start+longestAddress)
	for end < last && isAddressByte(text[end]) {
		end++
	}
	if end < last && end > start && text[end] == '%' {
		end++
		for end < last && isNameByte(text[end]) {
			end++
		}
	}
	return end
}

// isBoundary reports whether an address may end at end. Behind it there must be nothing that
// makes it a part of a longer address or word. "198.51.100.9" is not an address in
// "198.51.100.99". A colon or slash and a port may follow if the pattern has them, in behind.
func isBoundary(text []byte, end int, behind byte) bool {
	if end == len(text) {
		return true
	}
	switch c := text[end]; {
	case c == behind && (c == ':' || c == '/'):
		return true
	case isAlnum(c), c == '%', c == '_', c == '-', c == '/':
		return false
	case c == '.', c == ':':
		return end+1 == len(text) || !isAlnum(text[end+1]) && text[end+1] != ':'
	}
	return true
}

// parseAddr reads an address. A zone is cut off, since it is only a name on the server. An
// IPv4-mapped IPv6 address means the IPv4 address.
func parseAddr(b []byte) (netip.Addr, bool) {
	if a, ok := parseIPv4(b); ok {
		return a, true
	}
	for _, c := range b {
		if c == ':' {
			a, err := netip.ParseAddr(string(b))
			return a.WithZone("").Unmap(), err == nil
		}
	}
	return netip.Addr{}, false
}

// parseIPv4 reads four decimal numbers without leading zeros. It allocates nothing, unlike
// netip.ParseAddr.
func parseIPv4(b []byte) (netip.Addr, bool) {
	var a [4]byte
	part, value, digits := 0, 0, 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			if digits > 0 && value == 0 {
				return netip.Addr{}, false
			}
			value = value*10 + int(c-'0')
			digits++
			if value > 255 {
				return netip.Addr{}, false
			}
		case c == '.' && digits > 0 && part < 3:
			a[part] = byte(value)
			part++
			value, digits = 0, 0
		default:
			return netip.Addr{}, false
		}
	}
	if part != 3 || digits == 0 {
		return netip.Addr{}, false
	}
	a[3] = byte(value)
	return netip.AddrFrom4(a), true
}

func isAddressByte(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' || c == ':' || c == '.'
}

func isAlnum(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' }

// isNameByte reports whether c may be part of a host name.
func isNameByte(c byte) bool { return isAlnum(c) || c == '.' || c == '-' || c == '_' }
