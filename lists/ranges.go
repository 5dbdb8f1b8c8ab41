package lists

import (
	"strconv"
	"strings"
)

// p2p reads lines "name:first-last".
func p2p(o *sink) parser {
	return lineParser(func(n int, line string) error {
		text := strings.TrimSpace(line)
		if text == "" || strings.HasPrefix(text, "#") {
			return nil
		}
		name, addrs, ok := cutP2P(text)
		if !ok {
			o.badf(n, "%s is not NAME:FIRST-LAST", quote(text))
			return nil
		}
		return o.text(n, addrs, details{reason: name})
	})
}

// cutP2P splits at the last colon before the range. The addresses may be IPv6.
func cutP2P(line string) (name, addrs string, ok bool) {
	for i := strings.IndexByte(line, ':'); i >= 0; {
		if addrs = strings.ReplaceAll(line[i+1:], " ", ""); strings.Contains(addrs, "-") && isValue(addrs) {
			return strings.TrimSpace(line[:i]), addrs, true
		}
		next := strings.IndexByte(line[i+1:], ':')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return "", "", false
}

func isP2P(line string) bool {
	_, _, ok := cutP2P(line)
	return ok && !isValue(line)
}

// emule reads lines "first - last , access , name". Access below 128 means blocked.
func emule(o *sink) parser {
	return lineParser(func(n int, line string) error {
		text := strings.TrimSpace(line)
		if text == "" || strings.HasPrefix(text, "#") || strings.HasPrefix(text, ";") {
			return nil
		}
		addrs, access, name, ok := cutEmule(text)
		if !ok {
			o.badf(n, "%s is not FIRST - LAST , ACCESS , NAME", quote(text))
			return nil
		}
		v, err := parseEmule(addrs)
		if err != nil {
			o.bad(n, err)
			return nil
		}
		if access >= 128 {
			o.list.Left++
			return nil
		}
		return o.add(n, v, details{reason: name})
	})
}

// parseEmule reads a range whose numbers are padded with zeros. They are decimal.
func parseEmule(s string) (value, error) {
	first, last, _ := strings.Cut(s, "-")
	return rangeValue(unpad(strings.TrimSpace(first)), unpad(strings.TrimSpace(last)))
}

func unpad(s string) string {
	parts := strings.Split(s, ".")
	for i, part := range parts {
		if digits(part) && len(part) <= 3 {
			if parts[i] = strings.TrimLeft(part, "0"); parts[i] == "" {
				parts[i] = "0"
			}
		}
	}
	return strings.Join(parts, ".")
}

func cutEmule(line string) (addrs string, access int, name string, ok bool) {
	addrs, rest, ok := strings.Cut(line, ",")
	if !ok || !strings.Contains(addrs, "-") {
		return "", 0, "", false
	}
	level, name, _ := strings.Cut(rest, ",")
	access, err := strconv.Atoi(strings.TrimSpace(level))
	return addrs, access, strings.TrimSpace(name), err == nil && access >= 0
}

func isEmule(line string) bool {
	addrs, _, _, ok := cutEmule(line)
	if !ok {
		return false
	}
	_, err := parseEmule(addrs)
	return err == nil
}

// dshield reads lines of DShield's block list: first, last, length, and others.
func dshield(o *sink) parser {
	return lineParser(func(n int, line string) error {
		text := strings.TrimSpace(line)
		if text == "" || strings.HasPrefix(text, "#") || strings.HasPrefix(text, "Start") {
			return nil
		}
		f := strings.Split(text, "\t")
		if len(f) < 3 {
			o.badf(n, "%s has %d columns, not FIRST, LAST, LENGTH and more", quote(text), len(f))
			return nil
		}
		v, err := rangeValue(f[0], f[1])
		if err != nil {
			o.bad(n, err)
			return nil
		}
		if len(v.prefixes) != 1 || strconv.Itoa(v.prefixes[0].Bits()) != f[2] {
			o.badf(n, "%s to %s is not a prefix of length %s", f[0], f[1], quote(f[2]))
			return nil
		}
		d := details{}
		if len(f) > 4 && f[4] != "-" {
			d.reason = f[4]
		}
		return o.add(n, v, d)
	})
}

func isDShield(line string) bool {
	f := strings.Split(line, "\t")
	return len(f) >= 3 && isAddr(f[0]) && isAddr(f[1]) && digits(f[2])
}
