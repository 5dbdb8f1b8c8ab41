package loader

import (
	"fmt"
	"strconv"
	"strings"
)

// encodeName encodes an interface name for a BPF file system, which refuses dots. Letters,
// digits and - stay; any other byte becomes _ and two hexadecimal digits.
func encodeName(iface string) string {
	var b strings.Builder
	for _, c := range []byte(iface) {
		if isPlain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

// decodeName is the inverse of encodeName.
func decodeName(s string) (iface string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '_' {
			b.WriteByte(s[i])
			continue
		}
		if i+3 > len(s) {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), encodeName(b.String()) == s
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-'
}
