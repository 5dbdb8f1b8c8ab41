package fail2ban

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Converted is a configuration of Paraxial that does what jails do.
type Converted struct {
	Rules    []Rule    `json:"rules"`
	Logs     []Log     `json:"logs"`
	Allow    []string  `json:"allow"` // addresses that are never banned
	Problems []Problem `json:"not_converted"`
}

// Rule is a rule in the configuration.
type Rule struct {
	Name     string `json:"name"`
	Limit    int    `json:"limit"` // the event after so many bans
	Window   Span   `json:"window"`
	For      Span   `json:"for"`
	Escalate bool   `json:"-"`
	Longest  Span   `json:"longest,omitempty"` // with Escalate
}

// Log is a log in the configuration.
type Log struct {
	Name   string   `json:"name"`
	File   string   `json:"file,omitempty"`
	Units  []string `json:"units,omitempty"`
	Format string   `json:"format"`
	Status []int    `json:"status,omitempty"`
	Rule   string   `json:"rule"`
}

// Longest is the longest ban of a rule. Bans without an end become as long.
const Longest = Span(364 * day)

// maxWindow is the longest window of a rule.
const maxWindow = Span(7 * day)

// source is where the events of a filter come from.
type source struct {
	format string
	status []int // of an access log
	units  []string
}

// sources are the filters that have a format. Other names are tried as formats themselves,
// because users call their filters after the program.
func sources() map[string]source {
	return map[string]source{
		"sshd":              {format: "sshd", units: []string{"ssh.service", "sshd.service"}},
		"dropbear":          {format: "dropbear", units: []string{"dropbear.service"}},
		"nginx-http-auth":   {format: "nginx-error"},
		"apache-auth":       {format: "apache-error"},
		"dovecot":           {format: "dovecot", units: []string{"dovecot.service"}},
		"postfix":           {format: "postfix", units: []string{"postfix.service", "postfix@-.service"}},
		"exim":              {format: "exim", units: []string{"exim4.service"}},
		"proftpd":           {format: "proftpd"},
		"vsftpd":            {format: "vsftpd"},
		"mysqld-auth":       {format: "mariadb", units: []string{"mariadb.service"}},
		"named-refused":     {format: "named", units: []string{"named.service"}},
		"grafana":           {format: "grafana", units: []string{"grafana-server.service"}},
		"asterisk":          {format: "asterisk"},
		"traefik-auth":      {format: "traefik-clf", status: []int{401}},
		"haproxy-http-auth": {format: "haproxy", status: []int{401}},
		"hass":              {format: "home-assistant"},
		"bitwarden_rs":      {format: "vaultwarden"},
	}
}

// Convert returns what jails mean. formats are the names of the formats that logs may have.
func Convert(jails []Jail, formats []string) Converted {
	c := Converted{Rules: []Rule{}, Logs: []Log{}, Allow: []string{}, Problems: []Problem{}}
	for _, j := range jails {
		c.jail(j, formats)
	}
	return c
}

func (c *Converted) jail(j Jail, formats []string) {
	from, ok := sources()[j.Filter]
	if !ok && slices.Contains(formats, j.Filter) {
		from, ok = source{format: j.Filter}, true
	}
	if !ok {
		c.problem(j, "%s", noFormat(j.Filter))
		return
	}
	if !slices.Contains([]string{"", "normal", "aggressive", "more", "extra", "auth", "errors"}, j.Mode) {
		c.problem(j, "mode=%s of the filter %s counts other lines than the format %s", shorten(j.Mode), j.Filter,
			from.format)
		return
	}
	if !validName(j.Name) {
		c.problem(j, "the name cannot be that of a rule: give the jail a name of letters, digits, '.', '_' and '-'")
		return
	}
	logs := c.logs(j, from)
	if len(logs) == 0 {
		return
	}
	c.Logs = append(c.Logs, logs...)
	c.Rules = append(c.Rules, c.rule(j))
	c.allow(j)
	for _, n := range j.Notes {
		c.problem(j, "%s", n)
	}
	if len(j.Actions) > 0 {
		c.problem(j, "action %s: only bans are converted; `paraxialctl watch` and the metrics tell of bans",
			strings.Join(j.Actions, ", "))
	}
	if j.Mode != "" && j.Mode != "normal" {
		c.problem(j, "mode=%s: a format has one mode, which counts failures that name the address", j.Mode)
	}
}

func (c *Converted) logs(j Jail, from source) []Log {
	var logs []Log
	l := Log{Name: j.Name, Format: from.format, Status: from.status, Rule: j.Name}
	if j.Journal {
		l.Units = j.Units
		if len(from.units) > 0 {
			l.Units = from.units
		}
		if len(l.Units) == 0 {
			c.problem(j, "the unit in the journal is not known: write the log with `journal: {units: [NAME.service]}`")
			return nil
		}
		return []Log{l}
	}
	for n, file := range j.Files {
		if n > 0 {
			l.Name = fmt.Sprintf("%s-%d", j.Name, n+1)
		}
		l.File = file
		if !strings.HasPrefix(file, "/") {
			c.problem(j, "logpath %s is not an absolute path", file)
			continue
		}
		logs = append(logs, l)
	}
	if len(j.Files) == 0 {
		c.problem(j, "it has no logpath")
	}
	return logs
}

func (c *Converted) rule(j Jail) Rule {
	r := Rule{Name: j.Name, Limit: j.MaxRetry - 1, Window: Span(j.FindTime), For: Span(j.BanTime), Escalate: j.Escalate}
	if r.Window > maxWindow {
		c.problem(j, "findtime is longer than %d days, the longest window", time.Duration(maxWindow)/day)
		r.Window = maxWindow
	}
	if r.For < 0 || r.For > Longest {
		c.problem(j, "bans without an end become bans of %d days, which begin again with the next event",
			time.Duration(Longest)/day)
		r.For, r.Escalate = Longest, false
	}
	if r.Escalate {
		r.Longest = Span(j.Longest)
		if r.Longest <= 0 || r.Longest > Longest {
			r.Longest = Longest
		}
		r.Longest = max(r.Longest, r.For)
	}
	return r
}

// allow adds the addresses that a jail ignores. Those of the host itself are left alone anyway.
func (c *Converted) allow(j Jail) {
	for _, word := range j.IgnoreIP {
		p, err := netip.ParsePrefix(word)
		if a, addrErr := netip.ParseAddr(word); addrErr == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		switch {
		case err != nil:
			c.once(Problem{"", fmt.Sprintf("ignoreip %s is no address or prefix: names are never resolved",
				shorten(word))})
		case p.Addr().IsLoopback():
		case !slices.Contains(c.Allow, p.Masked().String()):
			c.Allow = append(c.Allow, p.Masked().String())
		}
	}
}

func (c *Converted) problem(j Jail, format string, args ...any) {
	c.Problems = append(c.Problems, Problem{j.Name, fmt.Sprintf(format, args...)})
}

// once adds a problem that several jails have.
func (c *Converted) once(p Problem) {
	if !slices.Contains(c.Problems, p) {
		c.Problems = append(c.Problems, p)
	}
}

// noFormat tells how to go on with a filter that has no format.
func noFormat(filter string) string {
	switch {
	case filter == "recidive":
		return "the filter recidive reads fail2ban's own log: `escalate` of a rule makes repeated bans longer"
	case strings.HasPrefix(filter, "nginx-") || strings.HasPrefix(filter, "apache-"):
		return "the filter " + filter + " has no format: write a rule over the access log with `match: {path, status}`"
	}
	return "the filter " + shorten(filter) + " has no format: write `patterns` of your own, and try them with " +
		"`paraxialctl match --pattern`"
}

func validName(s string) bool {
	if s == "" || len(s) > 60 || strings.Trim(s[:1], "-._") == "" {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r)
	}) < 0
}
