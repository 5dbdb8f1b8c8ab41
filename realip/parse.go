package realip

import (
	"net/netip"
	"strings"
)

const forwarded = "forwarded"

// entry is one hop that a header names. It is not ok if it cannot be read as an address.
type entry struct {
	addr netip.Addr
	ok   bool
}

// parse returns the entries of one line of the header called name, from left to right.
func parse(name, line string) []entry {
	if len(line) > longest {
		return []entry{{}}
	}
	if strings.EqualFold(name, forwarded) {
		return parseForwarded(line)
	}
	return parseList(line)
}

// parseList reads addresses with commas between them. Empty elements do not count (RFC 9110,
// section 5.6.1).
func parseList(line string) (entries []entry) {
	for part := range strings.SplitSeq(line, ",") {
		if part = strings.Trim(part, " \t"); part == "" {
			continue
		}
		a, ok := parseNode(part)
		if !ok {
			a, ok = parseAddr(part) // IPv6 without brackets
		}
		entries = append(entries, entry{a, ok})
	}
	return entries
}

// parseForwarded reads a line of the header Forwarded (RFC 7239). If any of it breaks the
// grammar, the whole line is one entry that cannot be read: a quote that is not closed leaves
// open where the entries of the proxies begin.
func parseForwarded(line string) []entry {
	entries := []entry{}
	rest := skipBlanks(line)
	for rest != "" {
		if rest[0] == ',' { // an empty element
			rest = skipBlanks(rest[1:])
			continue
		}
		e, after, ok := parseElement(rest)
		if !ok || after != "" && after[0] != ',' {
			return []entry{{}}
		}
		entries = append(entries, e)
		rest = after
	}
	return entries
}

// parseElement reads the pairs of one element. An element without "for" is an entry that cannot
// be read.
func parseElement(s string) (e entry, rest string, ok bool) {
	seen := false
	for {
		name, after := token(s)
		if name == "" || after == "" || after[0] != '=' {
			return entry{}, "", false
		}
		value, after, ok := parseValue(after[1:])
		if !ok {
			return entry{}, "", false
		}
		if strings.EqualFold(name, "for") {
			if seen {
				return entry{}, "", false
			}
			seen = true
			e.addr, e.ok = parseNode(value)
		}
		s = skipBlanks(after)
		if s == "" || s[0] != ';' {
			return e, s, true
		}
		s = skipBlanks(s[1:])
	}
}

// parseValue reads a token or a quoted string.
func parseValue(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		value, rest = token(s)
		return value, rest, value != ""
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case c < ' ' && c != '\t' || c == 0x7f || c == '\\':
			return "", "", false
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// parseNode reads an IPv4 address, or an IPv6 address in brackets, and an optional port.
func parseNode(s string) (netip.Addr, bool) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		host, port, closed := strings.Cut(inner, "]")
		a, ok := parseAddr(host)
		return a, ok && closed && strings.Contains(host, ":") && (port == "" || isPort(port))
	}
	host, port := s, ""
	if i := strings.IndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i:]
	}
	a, ok := parseAddr(host)
	return a, ok && (port == "" || isPort(port))
}

// parseAddr reads an address without a zone. The zone of a remote client means nothing here.
func parseAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// isPort reports whether s is a colon and a port: up to five digits, or an underscore and a
// name that hides the port (RFC 7239, section 6).
func isPort(s string) bool {
	s = s[1:]
	if s == "" {
		return false
	}
	if name, hidden := strings.CutPrefix(s, "_"); hidden {
		return name != "" && strings.Trim(name, letters+digits+"._-") == ""
	}
	return len(s) <= 5 && strings.Trim(s, digits) == ""
}

const (
	digits  = "0123456789"
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// token cuts s behind its first characters that may be part of a token.
func token(s string) (name, rest string) {
	for i := range len(s) {
		if strings.IndexByte(letters+digits+"!#$%&'*+-.^_`|~", s[i]) < 0 {
			return s[:i], s[i:]
		}
	}
	return s, ""
}

func skipBlanks(s string) string { return strings.TrimLeft(s, " \t") }
