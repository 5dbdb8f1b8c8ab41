package lists

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// fail2banTimes reads `fail2ban-client get JAIL banip --with-time`. The times are local.
func fail2banTimes(o *sink) parser {
	return lineParser(func(n int, line string) error {
		text := strings.TrimSpace(line)
		if text == "" {
			return nil
		}
		m := banTime.FindStringSubmatch(text)
		if m == nil {
			o.badf(n, "%s is not ADDRESS TIME + SECONDS = TIME", quote(text))
			return nil
		}
		d := details{}
		if m[3] != "-1" { // a ban without end
			end, err := time.ParseInLocation(time.DateTime, m[4], o.now.Location())
			if err != nil {
				o.badf(n, "%s is not a time", quote(m[4]))
				return nil
			}
			d.until = end
		}
		return o.text(n, m[1], d)
	})
}

var banTime = regexp.MustCompile(
	`^(\S+)\s+(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \+ (-?\d+) = (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)$`)

// fail2banBanned reads `fail2ban-client banned`: a Python list of jails and addresses.
func fail2banBanned(o *sink) parser {
	p := &jsonParser{}
	p.read = func(n *node) error {
		if err := n.expect('[', "a list of jails"); err != nil {
			return err
		}
		for _, jail := range n.values {
			for i, all := range jail.values {
				if jail.kind != '{' {
					return fmt.Errorf("line %d: this is not a jail", jail.line)
				}
				for _, v := range all.values {
					if err := o.prefix(v, details{reason: jail.keys[i]}, []field{{"jail", jail.keys[i]}}); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}
	return pythonParser{p}
}

// pythonParser makes JSON of Python's quotes.
type pythonParser struct{ *jsonParser }

func (p pythonParser) line(n int, text string) error {
	if strings.ContainsAny(text, `"\`) {
		return fmt.Errorf("line %d: %s is not a list of jails", n, quote(text))
	}
	return p.jsonParser.line(n, strings.ReplaceAll(text, "'", `"`))
}

// fail2banStatus reads `fail2ban-client status JAIL`.
type fail2banStatus struct {
	out     *sink
	jail    string
	claimed int // addresses by "Currently banned"
	listed  bool
}

func openFail2banStatus(o *sink) parser { return &fail2banStatus{out: o} }

func (p *fail2banStatus) line(n int, line string) error {
	text := strings.TrimLeft(line, "|`- \t")
	key, v, ok := strings.Cut(text, ":")
	v = strings.TrimSpace(v)
	switch key = strings.TrimSpace(key); {
	case text == "", key == "Filter" || key == "Actions":
	case key == "Status for the jail":
		p.jail, p.claimed, p.listed = v, -1, false
	case key == "Currently banned":
		claimed, err := strconv.Atoi(v)
		if err != nil {
			p.out.badf(n, "%s is not a number", quote(v))
		}
		p.claimed = claimed
	case key == "Banned IP list":
		p.listed = true
		return p.banned(n, strings.Fields(v))
	case ok && (key == "Currently failed" || key == "Total failed" || key == "File list" || key == "Total banned" ||
		key == "Journal matches"):
	default:
		p.out.badf(n, "%s is not a line of a jail's status", quote(line))
	}
	return nil
}

func (p *fail2banStatus) banned(n int, addrs []string) error {
	if len(addrs) != p.claimed {
		return fmt.Errorf("line %d: jail %s has %d addresses and says that it has %d: the list is not complete",
			n, p.jail, len(addrs), p.claimed)
	}
	for _, a := range addrs {
		if err := p.out.text(n, a, details{reason: p.jail}); err != nil {
			return err
		}
	}
	return nil
}

func (p *fail2banStatus) end() error {
	if !p.listed {
		return fmt.Errorf("jail %s has no list of addresses: the output is not complete", p.jail)
	}
	return nil
}

// sshguard reads the blacklist of sshguard: "TIME|SERVICE|KIND|ADDRESS".
func sshguard(o *sink) parser {
	return lineParser(func(n int, line string) error {
		text := strings.TrimSpace(line)
		if text == "" || strings.HasPrefix(text, "#") {
			return nil
		}
		f := strings.Split(text, "|")
		if !isSSHGuard(text) {
			o.badf(n, "%s is not TIME|SERVICE|KIND|ADDRESS", quote(text))
			return nil
		}
		return o.text(n, f[3], details{})
	})
}

func isSSHGuard(line string) bool {
	f := strings.Split(line, "|")
	return len(f) == 4 && digits(f[0]) && digits(f[1]) && (f[2] == "4" || f[2] == "6")
}

// tor reads the exit addresses of the Tor project.
func tor(o *sink) parser {
	return lineParser(func(n int, line string) error {
		w := strings.Fields(line)
		switch at(w, 0) {
		case "", "ExitNode", "Published", "LastStatus":
			return nil
		case "ExitAddress":
			if len(w) == 4 {
				return o.text(n, w[1], details{})
			}
		}
		o.badf(n, "%s is not a line of Tor's exit addresses", quote(line))
		return nil
	})
}

// rbldnsd reads an ip4set or ip4trie of rbldnsd. The narrower of an entry and an
// exemption counts.
func rbldnsd(o *sink) parser {
	o.rule = narrowerCounts
	return lineParser(func(n int, line string) error {
		text := strings.TrimSpace(line)
		if text == "" || strings.ContainsRune("#;:", rune(text[0])) {
			return nil // a comment, or the answer for the entries that follow
		}
		word, rest, _ := strings.Cut(strings.ReplaceAll(text, "\t", " "), " ")
		switch word {
		case "$SOA", "$NS", "$TTL", "$TIMESTAMP", "$MAXRANGE4":
			return nil
		}
		word, _, _ = strings.Cut(word, ":") // an answer of its own may follow
		v, err := rbldnsdValue(strings.TrimPrefix(word, "!"))
		switch {
		case err != nil:
			o.bad(n, err)
			return nil
		case strings.HasPrefix(word, "!"):
			return o.except(n, v)
		}
		return o.add(n, v, details{reason: strings.TrimSpace(rest)})
	})
}

// rbldnsdValue reads an address. Numbers at the end may be missing: 192.0.2 is
// 192.0.2.0/24.
func rbldnsdValue(s string) (value, error) {
	addr, length, isPrefix := strings.Cut(s, "/")
	parts := strings.Split(addr, ".")
	if len(parts) >= 4 || !digits(strings.Join(parts, "")) || strings.Contains(s, "-") {
		return parseValue(s)
	}
	if !isPrefix {
		length = strconv.Itoa(8 * len(parts))
	}
	return parseValue(addr + strings.Repeat(".0", 4-len(parts)) + "/" + length)
}

func isRBLDNSD(line string) bool {
	if rest, ok := strings.CutPrefix(line, "!"); ok {
		v, _, _ := strings.Cut(rest, " ")
		return isValue(v)
	}
	return strings.HasPrefix(line, "$SOA ") || strings.HasPrefix(line, "$NS ") || strings.HasPrefix(line, "$TTL ") ||
		strings.HasPrefix(line, ":127.")
}

// registry reads a delegated file of a regional registry.
type registry struct {
	out     *sink
	begun   bool
	claimed map[string]int // records by family, of the summary
	found   map[string]int
}

func openRegistry(o *sink) parser {
	return &registry{out: o, claimed: make(map[string]int), found: make(map[string]int)}
}

func (p *registry) line(n int, line string) error {
	text := strings.TrimSpace(line)
	if text == "" || strings.HasPrefix(text, "#") {
		return nil
	}
	f := strings.Split(text, "|")
	switch {
	case !p.begun && len(f) >= 7 && strings.Trim(f[0], "0123456789.") == "":
		p.begun = true
		return nil
	case len(f) >= 6 && f[5] == "summary":
		p.claimed[f[2]], _ = strconv.Atoi(f[4])
		return nil
	case len(f) < 7:
		p.out.badf(n, "%s is not a record of a registry", quote(text))
		return nil
	}
	p.found[f[2]]++
	if f[2] == "asn" {
		return nil
	}
	if !p.out.where.wants([]field{{"registry", f[0]}, {"country", f[1]}, {"type", f[2]}, {"status", f[6]}}) {
		p.out.list.Left++
		return nil
	}
	v, err := registryValue(f[2], f[3], f[4])
	if err != nil {
		p.out.bad(n, err)
		return nil
	}
	return p.out.add(n, v, details{})
}

// registryValue reads a start and, for IPv4, the number of addresses; for IPv6, the
// length of the prefix.
func registryValue(kind, start, size string) (value, error) {
	if kind == "ipv6" {
		return parseValue(start + "/" + size)
	}
	v, err := parseValue(start)
	count, errCount := strconv.ParseUint(size, 10, 33)
	if err != nil {
		return v, err
	}
	if kind != "ipv4" || errCount != nil || !v.prefixes[0].Addr().Is4() {
		return v, fmt.Errorf("%s addresses of type %s from %s are not understood", quote(size), quote(kind),
			quote(start))
	}
	first := number(v.prefixes[0].Addr())
	last := first.lo + count - 1
	if count == 0 || last > 0xffffffff {
		return v, fmt.Errorf("%s addresses from %s are not a range of IPv4", quote(size), quote(start))
	}
	return between(v.prefixes[0].Addr(), num{0, last}.addr(true))
}

func (p *registry) end() error {
	for kind, claimed := range p.claimed {
		if claimed != p.found[kind] {
			return fmt.Errorf("the file has %d records of %s and says that it has %d: it is not complete",
				p.found[kind], kind, claimed)
		}
	}
	return nil
}

func isRegistry(line string) bool {
	f := strings.Split(line, "|")
	if len(f) < 7 {
		return false
	}
	switch f[1] {
	case "afrinic", "apnic", "arin", "iana", "lacnic", "ripencc", "ripe", "nro":
		return strings.Trim(f[0], "0123456789.") == ""
	}
	switch f[0] {
	case "afrinic", "apnic", "arin", "iana", "lacnic", "ripencc":
		return f[2] == "ipv4" || f[2] == "ipv6" || f[2] == "asn"
	}
	return false
}
