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

// place is where an address may begin, and what can be read there.
type place struct {
	start  int
	behind byte // that was taken as the end of an address
	ends   []addressTo
	name   int // the end of a host name, or 0
}

// addressTo is an address and its end.
type addressTo struct {
	end  int
	addr netip.Addr
}

// place returns what can be read at start. The patterns of a format look at the same places, so
// the last ones are remembered.
func (m *scratch) place(text []byte, start int, behind byte) *place {
	for i := range min(m.known, len(m.places)) {
		if p := &m.places[i]; p.start == start && p.behind == behind {
			return p
		}
	}
	p := &m.places[m.known%len(m.places)]
	m.known++
	p.start, p.behind, p.ends, p.name = start, behind, p.ends[:0], 0
	limit := addressEnd(text, start)
	for end := start + 2; end <= limit; end++ {
		if end < len(text) && isAlnum(text[end]) {
			continue // no boundary, and most bytes are such
		}
		if isBoundary(text, end, behind) {
			if a, ok := parseAddr(text[start:end]); ok {
				p.ends = append(p.ends, addressTo{end, a})
			}
		}
	}
	if start == len(text) || text[start] == '-' {
		return p
	}
	end, letters := start, false
	for end < len(text) && isNameByte(text[end]) {
		letters = letters || text[end]|0x20 >= 'a' && text[end]|0x20 <= 'z'
		end++
	}
	if letters {
		p.name = end
	}
	return p
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
