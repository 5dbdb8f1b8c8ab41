package lists

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/paraxial/paraxial/policy"
)

// value is what a word of a list stands for.
type value struct {
	prefixes []netip.Prefix
	masked   bool // host bits were cleared
}

func one(p netip.Prefix) value { return value{prefixes: []netip.Prefix{p}} }

// parseValue reads an address, a prefix, an address with a netmask after a slash, a
// range, or an IPv4 address with * as its last numbers.
func parseValue(s string) (value, error) {
	p, masked, err := policy.ParsePrefix(s)
	if err == nil {
		return value{[]netip.Prefix{p}, masked}, nil
	}
	if s == "" {
		return value{}, fmt.Errorf("the address is missing")
	}
	if addr, mask, ok := strings.Cut(s, "/"); ok && strings.Count(mask, ".") == 3 && isAddr(addr) {
		return maskValue(s, addr, mask)
	}
	if strings.HasSuffix(s, "*") {
		return starValue(s)
	}
	if first, last, ok := strings.Cut(s, "-"); ok {
		if v, err := rangeValue(strings.TrimSpace(first), strings.TrimSpace(last)); err == nil || isAddr(first) {
			return v, err
		}
	}
	return value{}, explain(s)
}

func isAddr(s string) bool {
	_, err := policy.ParseAddr(strings.TrimSpace(s))
	return err == nil
}

func isPrefix(s string) bool {
	_, _, err := policy.ParsePrefix(s)
	return err == nil
}

func isValue(s string) bool {
	_, err := parseValue(s)
	return err == nil
}

// maskValue reads an IPv4 address and its netmask.
func maskValue(s, addr, mask string) (value, error) {
	a, err := policy.ParseAddr(addr)
	if err != nil {
		return value{}, explain(addr)
	}
	bits, ok := maskBits(mask)
	if !ok || !a.Is4() {
		return value{}, fmt.Errorf("%s: %s is not a netmask of an IPv4 address", quote(s), quote(mask))
	}
	p := netip.PrefixFrom(a, bits).Masked()
	return value{[]netip.Prefix{p}, p.Addr() != a}, nil
}

// maskBits returns the length of a netmask such as 255.255.255.0, or of its inverse,
// as Cisco writes it.
func maskBits(s string) (int, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return 0, false
	}
	m := number(a).lo & 0xffffffff
	if m>>24 == 0 { // the inverse of a mask of 8 bits or more
		m = ^m & 0xffffffff
	}
	for bits := 8; bits <= 32; bits++ {
		if m == 0xffffffff<<(32-bits)&0xffffffff {
			return bits, true
		}
	}
	return 0, false
}

func starValue(s string) (value, error) {
	parts := strings.Split(s, ".")
	known := 0
	for known < len(parts) && parts[known] != "*" {
		known++
	}
	for i := known; i < len(parts); i++ {
		if parts[i] != "*" {
			known = 0
		} else {
			parts[i] = "0"
		}
	}
	a, err := netip.ParseAddr(strings.Join(parts, "."))
	if len(parts) != 4 || known == 0 || err != nil {
		return value{}, fmt.Errorf("%s is not an IPv4 address with * as its last numbers", quote(s))
	}
	return one(netip.PrefixFrom(a, 8*known)), nil
}

// rangeValue reads a range. The end may be the last number alone: 192.0.2.1-9.
func rangeValue(first, last string) (value, error) {
	from, err := policy.ParseAddr(first)
	if err != nil {
		return value{}, explain(first)
	}
	if n, err := strconv.ParseUint(last, 10, 8); err == nil && from.Is4() && strconv.FormatUint(n, 10) == last {
		last = first[:strings.LastIndex(first, ".")+1] + last
	}
	to, err := policy.ParseAddr(last)
	if err != nil {
		return value{}, explain(last)
	}
	return between(from, to)
}

// between returns the prefixes of a range.
func between(from, to netip.Addr) (value, error) {
	if from.Is4() != to.Is4() {
		return value{}, fmt.Errorf("the range %s-%s has an IPv4 and an IPv6 address", from, to)
	}
	if to.Less(from) {
		return value{}, fmt.Errorf("the range %s-%s ends before it begins", from, to)
	}
	return value{prefixes: span{number(from), number(to)}.prefixes(nil, from.Is4())}, nil
}

// explain tells why s is not understood.
func explain(s string) error {
	lower := strings.ToLower(s)
	host, port, hasPort := strings.Cut(s, ":")
	switch {
	case strings.Contains(s, "://"):
		return fmt.Errorf("%s is a URL, not an address", quote(s))
	case strings.HasPrefix(lower, "<!") || strings.HasPrefix(lower, "<html") || strings.HasPrefix(lower, "<head") ||
		strings.HasPrefix(lower, "<body"):
		return fmt.Errorf("%s is HTML, not an address", quote(s))
	case strings.HasPrefix(lower, "tcp|") || strings.HasPrefix(lower, "udp|"):
		return fmt.Errorf("%s is a rule for one port; only whole addresses can be imported", quote(s))
	case hasPort && isAddr(host) && digits(port), strings.HasPrefix(s, "[") && strings.Contains(s, "]:"):
		return fmt.Errorf("%s has a port; only whole addresses can be imported", quote(s))
	case hasLeadingZero(s):
		return fmt.Errorf("%s has a number with a leading zero, which some programs read as octal", quote(s))
	case isHostname(s):
		return fmt.Errorf("%s is a host name; names are not resolved, so list its addresses", quote(s))
	}
	_, _, err := policy.ParsePrefix(s)
	if err == nil || strings.HasPrefix(err.Error(), "\"") {
		return fmt.Errorf("%s is not an IPv4 or IPv6 address", quote(s))
	}
	return err
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func hasLeadingZero(s string) bool {
	addr, _, _ := strings.Cut(s, "/")
	parts := strings.Split(addr, ".")
	zero := false
	for _, part := range parts {
		if !digits(part) || len(part) > 3 {
			return false
		}
		zero = zero || len(part) > 1 && part[0] == '0'
	}
	return zero && len(parts) == 4
}

// isHostname reports whether s has a dot and only characters of a host name, with a
// letter in its last label.
func isHostname(s string) bool {
	s = strings.TrimSuffix(s, ".")
	dot := strings.LastIndex(s, ".")
	if dot < 0 || strings.Contains(s, "..") || strings.HasPrefix(s, "-") {
		return false
	}
	for _, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c > 127
		if !letter && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' && c != '*' {
			return false
		}
	}
	return strings.ContainsFunc(s[dot+1:], func(c rune) bool { return c > '9' })
}

// quote returns bad input for an error message: escaped, and cut at 60 bytes.
func quote(s string) string {
	const longest = 60
	if len(s) > longest {
		return strconv.Quote(s[:longest]) + "..."
	}
	return strconv.Quote(s)
}
