package main

import (
	"path/filepath"
	"regexp"
	"strings"
)

var (
	notInOrigin   = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
	notAtItsStart = regexp.MustCompile(`^[._-]+`)
	packedName    = regexp.MustCompile(`\.(gz|bz2|xz|zst|zip)$`)
	// Names that many lists have. Two lists must not replace each other because of such a name.
	generalName = regexp.MustCompile(`^((ip|ips|ipv4|ipv6|v4|v6|inet|inet6|cidr|cidrs|all|list|lists|block|blocks|` +
		`blocklist|blacklist|addresses|ranges|networks|prefixes|aggregated|merged|latest|output|data|raw)[._-]?)+$`)
)

// originOf derives an origin from the name of a file: "lists/ipsum.txt" is "ipsum", and
// "vpn/ipv4.txt" is "vpn-ipv4". It is empty if no letter or digit remains, or if name is
// the name of a pipe.
func originOf(name string) string {
	const longest = 63
	if name == "-" {
		return "stdin"
	}
	if strings.HasPrefix(name, "/dev/fd/") || strings.HasPrefix(name, "/proc/") {
		return "" // a shell replaces <(command) by such a name
	}
	base := packedName.ReplaceAllString(filepath.Base(name), "")
	base = strings.TrimSuffix(base, filepath.Ext(base))
	if generalName.MatchString(strings.ToLower(base)) {
		if path, err := filepath.Abs(name); err == nil && filepath.Dir(path) != "/" {
			base = filepath.Base(filepath.Dir(path)) + "-" + base
		}
	}
	origin := notInOrigin.ReplaceAllString(base, "-")
	origin = notAtItsStart.ReplaceAllString(origin, "")
	return strings.TrimRight(origin[:min(len(origin), longest)], "-")
}

func shownName(name string) string {
	if name == "-" {
		return "stdin"
	}
	return name
}
