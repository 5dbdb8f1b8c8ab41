package lists

import (
	"errors"
	"net/netip"
	"regexp"
	"strings"

	"github.com/paraxial/paraxial/policy"
)

// hostsDeny reads /etc/hosts.deny: "DAEMONS: CLIENTS [: OPTIONS]".
func hostsDeny(o *sink) parser {
	return lineParser(func(n int, line string) error {
		text := strings.TrimSpace(line)
		if i := strings.IndexByte(text, '#'); i >= 0 {
			text = strings.TrimSpace(text[:i])
		}
		if text == "" {
			return nil
		}
		daemons, clients, ok := strings.Cut(text, ":")
		clients, option := cutOption(clients)
		switch {
		case !ok || strings.TrimSpace(daemons) == "" || isAddr(text):
			o.badf(n, "%s is not DAEMON: ADDRESS", quote(text))
			return nil
		case !isHostsOption(option):
			o.badf(n, "%s is not an option of hosts.deny", quote(option))
			return nil
		case strings.Contains(daemons, "EXCEPT") || strings.EqualFold(option, "allow"):
			o.badf(n, "%s has an exception, which can not be imported", quote(text))
			return nil
		}
		return o.clients(n, words(clients))
	})
}

// isHostsOption reports whether s is nothing, or begins with an option of hosts_options(5).
func isHostsOption(s string) bool {
	word, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	switch strings.ToLower(word) {
	case "", "allow", "deny", "spawn", "twist", "severity", "banners", "keepalive", "linger", "nice", "rfc931",
		"setenv",
		"umask", "user":
		return true
	}
	return false
}

// cutOption splits clients from the options. IPv6 addresses are in brackets.
func cutOption(s string) (clients, option string) {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '[':
			depth++
		case ']':
			depth--
		case ':':
			if depth == 0 {
				return s[:i], strings.TrimSpace(s[i+1:])
			}
		}
	}
	return s, ""
}

// clients adds the clients of a line. All of them must be understood.
func (o *sink) clients(n int, words []string) error {
	var values []value
	for _, w := range words {
		v, err := clientValue(w)
		if err != nil {
			o.bad(n, err)
			return nil
		}
		values = append(values, v)
	}
	if len(values) == 0 {
		o.badf(n, "the address is missing")
	}
	for _, v := range values {
		if err := o.add(n, v, details{}); err != nil {
			return err
		}
	}
	return nil
}

// clientValue reads a client of hosts.deny. "192.0.2." means 192.0.2.0/24.
func clientValue(s string) (value, error) {
	if strings.HasPrefix(s, "[") {
		inner, length, _ := strings.Cut(s[1:], "]")
		return parseValue(inner + length)
	}
	if parts := strings.Split(s, "."); strings.HasSuffix(s, ".") && len(parts) <= 4 {
		a, err := policy.ParseAddr(s + strings.Repeat("0.", 4-len(parts)) + "0")
		if err == nil {
			return one(netip.PrefixFrom(a, 8*(len(parts)-1))), nil
		}
	}
	return parseValue(s)
}

var daemonList = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_@.-]*([ ,]+[A-Za-z][A-Za-z0-9_@.-]*)*\s*:`)

func isHostsDeny(line string) bool {
	daemons := daemonList.FindString(line)
	if daemons == "" || isAddr(line) || isP2P(line) {
		return false
	}
	clients, _ := cutOption(line[len(daemons):])
	for _, w := range words(clients) {
		if _, err := clientValue(w); err == nil || w == "ALL" || isHostname(strings.TrimPrefix(w, ".")) {
			return true
		}
	}
	return false
}

// nginxAccess reads `deny` and `allow` directives, of which the first that matches
// counts.
func nginxAccess(o *sink) parser {
	return lineParser(func(n int, line string) error {
		text, comment, _ := strings.Cut(line, "#")
		for part := range strings.SplitAfterSeq(strings.TrimSpace(text), ";") {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			w := strings.Fields(strings.TrimSuffix(part, ";"))
			if !strings.HasSuffix(part, ";") || len(w) != 2 || w[0] != "deny" && w[0] != "allow" {
				o.badf(n, "%s is not \"deny ADDRESS;\"", quote(part))
				return nil
			}
			v, err := parseValue(w[1])
			switch {
			case w[1] == "all":
				o.badf(n, "%s is for all addresses; take it out", quote(part))
			case err != nil:
				o.bad(n, err)
			case w[0] == "allow":
				err = o.except(n, v)
			default:
				err = o.add(n, v, details{reason: comment})
			}
			if errors.Is(err, ErrTooMany) {
				return err
			}
		}
		return nil
	})
}

// nginxGeo reads a `geo` block. An address with the value 0, off, no or nothing is an
// exemption; of several that match, the narrowest counts.
type nginxGeo struct {
	out    *sink
	inside bool
}

func openNginxGeo(o *sink) parser {
	o.rule = narrowerCounts
	return &nginxGeo{out: o}
}

func (p *nginxGeo) end() error { return nil }

var geoStart = regexp.MustCompile(`^geo\s+(\$\w+\s+)?\$\w+\s*\{$`)

func (p *nginxGeo) line(n int, line string) error {
	text, comment, _ := strings.Cut(line, "#")
	switch text = strings.TrimSpace(text); {
	case text == "" || text == "ranges;":
		return nil
	case geoStart.MatchString(text) && !p.inside:
		p.inside = true
		return nil
	case text == "}" && p.inside:
		p.inside = false
		return nil
	}
	w := strings.Fields(strings.TrimSuffix(text, ";"))
	if len(w) == 1 && strings.HasSuffix(text, ";") {
		w = append(w, "")
	}
	if !p.inside || len(w) != 2 || !strings.HasSuffix(text, ";") {
		p.out.badf(n, "%s is not \"ADDRESS VALUE;\" in a geo block", quote(text))
		return nil
	}
	no := false
	switch strings.ToLower(strings.Trim(w[1], `"'`)) {
	case "", "0", "off", "no", "false":
		no = true
	}
	if w[0] == "default" {
		if !no {
			p.out.badf(n, "%s is for all addresses", quote(text))
		}
		return nil
	}
	v, err := parseValue(w[0])
	switch {
	case err != nil:
		p.out.bad(n, err)
		return nil
	case no:
		return p.out.except(n, v)
	case !p.out.where.wants([]field{{"value", strings.Trim(w[1], `"'`)}}):
		p.out.list.Left++
		return nil
	}
	return p.out.add(n, v, details{reason: comment})
}

// apache reads `Require not ip`, and `Deny from` of older versions.
func apache(o *sink) parser {
	return lineParser(func(n int, line string) error {
		text := strings.TrimSpace(line)
		w := strings.Fields(strings.ToLower(text))
		switch {
		case len(w) == 0 || w[0][0] == '#', apacheFrame(strings.Join(w, " ")):
			return nil
		case len(w) > 3 && w[0] == "require" && w[1] == "not" && w[2] == "ip":
			return o.apacheClients(n, w[3:])
		case len(w) > 2 && w[0] == "deny" && w[1] == "from":
			return o.apacheClients(n, w[2:])
		}
		o.badf(n, "%s is not \"Require not ip ADDRESS\"", quote(text))
		return nil
	})
}

// apacheFrame reports whether a line only surrounds a list.
func apacheFrame(s string) bool {
	switch s {
	case "<requireall>", "</requireall>", "<limit get post>", "</limit>", "require all granted",
		"order allow,deny", "order deny,allow", "allow from all":
		return true
	}
	return false
}

// apacheClients reads addresses as Apache does: "192.0.2" means 192.0.2.0/24.
func (o *sink) apacheClients(n int, words []string) error {
	for i, w := range words {
		if parts := strings.Split(strings.TrimSuffix(w, "."), "."); len(parts) < 4 && digits(strings.Join(parts, "")) {
			words[i] = strings.TrimSuffix(w, ".") + "."
		}
	}
	return o.clients(n, words)
}

// postfix reads a CIDR table: "PREFIX ACTION". The first line that matches counts.
func postfix(o *sink) parser {
	return lineParser(func(n int, line string) error {
		text := strings.TrimSpace(line)
		if text == "" || strings.HasPrefix(text, "#") {
			return nil
		}
		if line[0] == ' ' || line[0] == '\t' {
			o.badf(n, "%s continues the line before it", quote(text))
			return nil
		}
		w := strings.Fields(text)
		v, err := parseValue(w[0])
		switch action := postfixAction(at(w, 1)); {
		case err != nil:
			o.bad(n, err)
		case action == 'd':
			return o.add(n, v, details{reason: strings.Join(w[2:], " ")})
		case action == 'a':
			return o.except(n, v)
		default:
			o.badf(n, "%s is not an action that rejects or accepts", quote(at(w, 1)))
		}
		return nil
	})
}

// postfixAction returns 'd' for an action that denies, 'a' for one that accepts, and 0
// for any other word.
func postfixAction(s string) byte {
	switch strings.ToUpper(s) {
	case "REJECT", "DISCARD", "DEFER", "DEFER_IF_PERMIT", "DEFER_IF_REJECT":
		return 'd'
	case "OK", "DUNNO", "PERMIT":
		return 'a'
	}
	if len(s) == 3 && digits(s) && (s[0] == '4' || s[0] == '5') {
		return 'd'
	}
	return 0
}

func isPostfix(line string) bool {
	w := strings.Fields(line)
	return len(w) > 1 && isPrefix(w[0]) && !digits(w[1]) && postfixAction(w[1]) != 0
}
