package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/paraxial/paraxial/policy"
)

// ParseMode reads an XDP mode: auto, native or generic.
func ParseMode(s string) (Mode, error) {
	return oneOf(s, ModeAuto, ModeNative, ModeGeneric)
}

// ParseRepair reads a repair: never, own or always.
func ParseRepair(s string) (Repair, error) {
	return oneOf(s, RepairNever, RepairOwn, RepairAlways)
}

func parseEssential(s string) (Essential, error) {
	return oneOf(s, EssentialOn, EssentialOff)
}

// ParseFormat reads a log format: text or json.
func ParseFormat(s string) (Format, error) {
	return oneOf(s, FormatText, FormatJSON)
}

// ParseLevel reads a log level: debug, info, warn or error.
func ParseLevel(s string) (slog.Level, error) {
	levels := []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
	names := make([]string, len(levels))
	for i, l := range levels {
		names[i] = formatLevel(l)
	}
	name, err := oneOf(s, names...)
	if err != nil {
		return 0, err
	}
	return levels[slices.Index(names, name)], nil
}

func formatLevel(l slog.Level) string { return strings.ToLower(l.String()) }

// unixMetrics is the prefix of the path of a Unix socket that serves metrics.
const unixMetrics = "unix:"

// MetricsSocket returns the path of the Unix socket that serves the metrics. ok is false
// if they are served on a TCP address, or are off.
func (c Config) MetricsSocket() (path string, ok bool) {
	return strings.CutPrefix(c.Metrics, unixMetrics)
}

// ParseMetrics reads the address to serve metrics on: host:port, or unix: and the path of
// a socket. An empty host means all addresses. For "off" or "" it returns "".
func ParseMetrics(s string) (string, error) {
	if s == "" || s == "off" {
		return "", nil
	}
	if path, ok := strings.CutPrefix(s, unixMetrics); ok {
		path, err := parseSocket(path)
		return unixMetrics + path, err
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || !validHost(host) {
		return "", fmt.Errorf("%q is not an address to listen on; want host:port, "+
			"as in 127.0.0.1:9798 or [::1]:9798, or unix:/run/paraxial/metrics.sock, or off", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q: the port must be a number from 1 to 65535", s)
	}
	return s, nil
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,252})$`)

func parseHostName(s string) (string, error) {
	if !hostName.MatchString(s) {
		return "", fmt.Errorf("%q is not a host name; want a name without port, as in web1.example.com", s)
	}
	return s, nil
}

func validHost(s string) bool {
	if strings.Contains(s, ":") {
		_, err := netip.ParseAddr(s)
		return err == nil
	}
	return s == "" || hostName.MatchString(s)
}

// ParseInterface reads the name of a network interface, with the limits of the kernel.
func ParseInterface(s string) (string, error) {
	bad := func(r rune) bool { return r == '/' || r == ':' || unicode.IsSpace(r) || unicode.IsControl(r) }
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsFunc(s, bad) {
		return "", fmt.Errorf("%q cannot be an interface; want a name such as eth0, "+
			"of at most 15 bytes, without '/', ':' and blanks", s)
	}
	return s, nil
}

func parsePath(s string) (string, error) {
	if !filepath.IsAbs(s) {
		return "", fmt.Errorf("%q is not an absolute path; want one that starts with /", s)
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "", fmt.Errorf("%q has control characters; want a plain path", s)
	}
	return filepath.Clean(s), nil
}

// parseOptionalPath reads an absolute path, or "".
func parseOptionalPath(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return parsePath(s)
}

// maxSocketPath is the longest path that fits into sun_path with its final zero.
const maxSocketPath = 107

func parseSocket(s string) (string, error) {
	p, err := parsePath(s)
	if err == nil && len(p) > maxSocketPath {
		return "", fmt.Errorf("%q is %d bytes long; a socket's path has at most %d", p, len(p), maxSocketPath)
	}
	return p, err
}

func parseGroup(s string) (string, error) {
	bad := func(r rune) bool { return r == ':' || r == ',' || unicode.IsControl(r) }
	if strings.ContainsFunc(s, bad) || strings.TrimSpace(s) != s {
		return "", fmt.Errorf(`%q cannot be a group; want a name such as paraxial, or "" for the daemon's own`, s)
	}
	return s, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, _, err := policy.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%w; want an address or a prefix, as in 192.0.2.7 or 2001:db8::/32", err)
	}
	return p, nil
}

// parsePort reads a port. All numbers must be plain decimal, because YAML would read
// 022 as 18.
func parsePort(s string) (uint16, error) {
	n, err := parseNumber(s, 1, 65535)
	return uint16(n), err
}

func parseNumber(s string, low, high int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || strconv.Itoa(n) != s || n < low || n > high {
		return 0, fmt.Errorf("got %s; want a whole number from %d to %d", s, low, high)
	}
	return n, nil
}

// parsePercent reads a percentage such as 50%.
func parsePercent(s string) (Percent, error) {
	digits, ok := strings.CutSuffix(s, "%")
	n, err := parseNumber(digits, 0, 100)
	if !ok || err != nil {
		return 0, fmt.Errorf("got %s; want a percentage from 0%% to 100%%", s)
	}
	return Percent(n), nil
}

// oneOf reads one of the accepted words.
func oneOf[T ~string](s string, accepted ...T) (T, error) {
	if slices.Contains(accepted, T(s)) {
		return T(s), nil
	}
	return "", fmt.Errorf("%q is not accepted; want %s", s, alternatives(accepted))
}

// alternatives returns "a, b or c".
func alternatives[T ~string](words []T) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}
