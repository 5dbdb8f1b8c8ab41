package lists

import (
	"regexp"
	"strings"
	"time"
)

// mikrotik reads scripts of RouterOS that add to address lists.
type mikrotik struct {
	out   *sink
	sets  sets
	array bool // inside ":local NAME {"
}

var (
	rscArray  = regexp.MustCompile(`^:(local|global) \S+ (=\s*)?\{\s*\\?$`)
	rscRemove = regexp.MustCompile(`^(/ip(v6)?[ /]firewall[ /]address-list )?` +
		`remove \[ ?(/ip(v6)?[ /]firewall[ /]address-list )?find( where)? list="?[A-Za-z0-9_.-]+"? ?\]$`)
	rscItem  = regexp.MustCompile(`^\{?\s*"([^"]*)"\s*\}?\s*[;,]?\s*(\}\s*;?)?\s*\\?$`)
	rscField = regexp.MustCompile(`([a-z-]+)=("[^"]*"|\S+)`)
)

func openMikroTik(o *sink) parser { return &mikrotik{out: o, sets: sets{out: o}} }

func (p *mikrotik) line(n int, line string) error {
	text := strings.TrimSpace(line)
	switch {
	case text == "" || strings.HasPrefix(text, "#"):
		return nil
	case p.array:
		return p.inArray(n, text)
	case rscArray.MatchString(text):
		p.array = true
		return nil
	case rscRemove.MatchString(text):
		return nil // an import replaces all entries, too
	}
	i := strings.Index(text+" ", "add ")
	if path := text[:min(max(i, 0), len(text))]; i < 0 || path != "" && !isRSCPath(path) {
		if !isRSCPath(text) {
			p.out.badf(n, "%s does not add to an address list", quote(text))
		}
		return nil
	}
	return p.add(n, text[i:])
}

func isRSCPath(s string) bool {
	s = strings.TrimSuffix(strings.TrimSpace(s), " print")
	return s == "/ip firewall address-list" || s == "/ipv6 firewall address-list" ||
		s == "/ip/firewall/address-list" || s == "/ipv6/firewall/address-list"
}

// add reads an add command. All of it must be understood.
func (p *mikrotik) add(n int, text string) error {
	fields := make(map[string]string)
	for _, m := range rscField.FindAllStringSubmatch(text, -1) {
		fields[m[1]] = strings.Trim(m[2], `"`)
	}
	rest := strings.TrimSpace(rscField.ReplaceAllString(strings.TrimPrefix(text, "add"), ""))
	d := details{reason: fields["comment"]}
	for key := range fields {
		switch key {
		case "address", "list", "comment", "timeout", "disabled", "dynamic", "creation-time":
		default:
			rest = key
		}
	}
	if t := fields["timeout"]; t != "" {
		ttl, err := rscDuration(t)
		if err != nil {
			rest = "timeout=" + t
		}
		d.until = p.out.now.Add(ttl)
	}
	switch {
	case rest != "":
		p.out.badf(n, "%s is not understood", quote(rest))
		return nil
	case fields["disabled"] == "yes" || fields["disabled"] == "true" || !p.sets.wants(fields["list"]):
		p.out.list.Left++
		return nil
	}
	return p.out.text(n, fields["address"], d)
}

// rscDuration reads 1d, 1w2d03:04:05 or 1h30m.
func rscDuration(s string) (time.Duration, error) {
	var sum time.Duration
	if weeks, rest, ok := strings.Cut(s, "w"); ok && digits(weeks) && len(weeks) < 5 {
		d, err := nftDuration(weeks + "d")
		if sum = 7 * d; err != nil || rest == "" {
			return sum, err
		}
		s = rest
	}
	if parts := strings.Split(s, ":"); len(parts) == 3 {
		if days, hours, ok := strings.Cut(parts[0], "d"); ok {
			parts[0] = days + "d" + hours
		}
		s = parts[0] + "h" + parts[1] + "m" + parts[2] + "s"
	}
	d, err := nftDuration(s)
	return sum + d, err
}

// inArray reads `{ "ADDRESS" };\` and the code after the array, which is not read.
func (p *mikrotik) inArray(n int, text string) error {
	if m := rscItem.FindStringSubmatch(text); m != nil {
		return p.out.text(n, m[1], details{})
	}
	if strings.Trim(text, `};\ `) == "" {
		p.array = false
		return nil
	}
	p.out.badf(n, "%s is not an address of an array", quote(text))
	return nil
}

func (p *mikrotik) end() error { return p.sets.check() }
