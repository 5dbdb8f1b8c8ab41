package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/paraxial/paraxial/match"
)

// LogSource is a log that `paraxial-agent logs` reads. The daemon never reads it. It comes from a file,
// the journal or a socket, and is read by a format or by patterns.
type LogSource struct {
	// The name of the log. At most 64 logs.
	Name string
	// The file: an absolute path, or a pattern such as `/var/log/nginx/*.log` for at most 64
	// files.
	File    string
	Journal Journal
	Syslog  Syslog
	// The format of the lines, as in `paraxialctl match FORMAT`.
	Format string
	// Patterns of your own in place of a format, as in `paraxialctl match patterns`, at most 64.
	// See Patterns below.
	Patterns []Pattern
	// How a line for `patterns` states its time, before the text of the pattern: `rfc3339`,
	// `rfc3164`, `clf`, `nginx-error` or `epoch`. With `""` the patterns are for whole lines, and
	// a line counts when it is read.
	Time string
	// Lines with the address that they must be held against. A configuration with a sample that
	// comes out otherwise is invalid.
	Samples []Sample
	// The rule for which the lines count.
	Rule  string
	Match LogMatch
}

// Journal is what is read from the journal of systemd.
type Journal struct {
	// The units whose messages are read, such as `ssh.service`, at most 16.
	Units []string
	// The users whose messages are read: names, or numbers in quotes. The unit is not enough:
	// what a user starts in a session may belong to it.
	Users []string
}

// Syslog is a Unix datagram socket that programs write to.
type Syslog struct {
	// The socket, such as `/run/paraxial-logs/web.sock`. An absolute path.
	Socket string
	// The users that may write to it: names, or numbers in quotes.
	Users []string
}

// Pattern is a pattern of the user's own.
type Pattern struct {
	// The text of the whole line, with one `<addr>`, and fields such as `<user:[^:]*>`.
	Text string
	// The rule for which the lines count, if it is not that of the log.
	Rule string
}

// Sample is a line and what it must be read as.
type Sample struct {
	// A line of the log.
	Line string
	// The address that it must be held against, or `none`.
	Offender string
}

// LogMatch selects requests of an access log. With any of its keys, requests count whatever
// their status, unless `status` is given; without, those with a status from 400 to 499 count.
type LogMatch struct {
	// The methods, such as `[POST]`.
	Method []string
	// The paths. `*` stands for one part between slashes, `**` for any rest. Slashes at the end
	// and queries do not count.
	Path []string
	// The status codes, such as `[401, 403]`.
	Status []int
	// The hosts that were asked for. `*` stands for one part of a name, `**` for any.
	Host []string
	// The user agents. `**` stands for any text.
	Agent []string
}

// Limits of logs.
const (
	MaxLogs        = 64
	maxUnits       = 16
	maxLogPatterns = 64
	maxSamples     = 256
)

// NoOffender is the offender of a Sample that is held against nobody.
const NoOffender = "none"

// DefaultLog returns the values of the keys that a log leaves out.
func DefaultLog() LogSource {
	return LogSource{Journal: Journal{Users: []string{"root"}}, Syslog: Syslog{Users: []string{"root"}}}
}

// logKeys returns the keys of an item of logs.
func logKeys(l *LogSource) []key {
	return []key{
		textKey("logs.name", true, &l.Name, parseFeedName),
		textKey("logs.file", true, &l.File, parseLogFile),
		textsKey("logs.journal.units", &l.Journal.Units, parseUnit),
		textsKey("logs.journal.users", &l.Journal.Users, parseUser),
		textKey("logs.syslog.socket", true, &l.Syslog.Socket, parseSocket),
		textsKey("logs.syslog.users", &l.Syslog.Users, parseUser),
		textKey("logs.format", true, &l.Format, parseLogFormat),
		patternsKey(&l.Patterns),
		textKey("logs.time", true, &l.Time, parseLayout),
		samplesKey(&l.Samples),
		textKey("logs.rule", true, &l.Rule, parseRuleName),
		textsKey("logs.match.method", &l.Match.Method, parseMethod),
		textsKey("logs.match.path", &l.Match.Path, checked(match.PathGlob)),
		listKey("logs.match.status", true, &l.Match.Status, number, parseStatus, strconv.Itoa),
		textsKey("logs.match.host", &l.Match.Host, checked(match.HostGlob)),
		textsKey("logs.match.agent", &l.Match.Agent, checked(match.AgentGlob)),
	}
}

func textsKey(name string, values *[]string, parse func(string) (string, error)) key {
	return listKey(name, true, values, text, parse, func(s string) string { return s })
}

// checked returns a parser of text that is kept as it is.
func checked[T any](check func(string) (T, error)) func(string) (string, error) {
	return func(s string) (string, error) {
		_, err := check(s)
		return s, err
	}
}

func parseLogFile(s string) (string, error) {
	s, err := parsePath(s)
	if err == nil {
		_, err = filepath.Match(s, "")
	}
	if err != nil {
		return "", err
	}
	return s, nil
}

func parseUnit(s string) (string, error) {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || r == '*' || r == '/' }
	if !strings.Contains(s, ".") || len(s) > 255 || strings.ContainsFunc(s, bad) {
		return "", fmt.Errorf("%q cannot be a unit; want its full name, as in ssh.service", shorten(s, 80))
	}
	return s, nil
}

func parseLogFormat(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return checked(match.New)(s)
}

func parseLayout(s string) (string, error) { return checked(match.ParseLayout)(s) }

func parseMethod(s string) (string, error) {
	if s == "" || len(s) > 32 || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_") != "" {
		return "", fmt.Errorf("%q cannot be a method; want capital letters, as in POST", shorten(s, 80))
	}
	return s, nil
}

func parseStatus(s string) (int, error) { return parseNumber(s, 100, 999) }

func parseRuleName(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return parseFeedName(s)
}

func patternsKey(list *[]Pattern) key {
	return itemList[Pattern]{
		name: "logs.patterns", example: `{text: 'login failed for <user:[^:]*> from <addr>'}`,
		decode: func(d *decoder, m *ast.MappingNode) (p Pattern) {
			d.mapping(m, "logs.patterns.", patternKeys(&p))
			return p
		},
		complete: func(p Pattern) error {
			_, err := match.Patterns([]string{p.Text}, "")
			return err
		},
		follow: func(before []Pattern, p Pattern) error { return room(len(before), maxLogPatterns, "patterns") },
	}.key(list)
}

// patternKeys returns the keys of an item of logs.patterns.
func patternKeys(p *Pattern) []key {
	return []key{
		textKey("logs.patterns.text", true, &p.Text, parsePlain),
		textKey("logs.patterns.rule", true, &p.Rule, parseRuleName),
	}
}

func samplesKey(list *[]Sample) key {
	return itemList[Sample]{
		name: "logs.samples", example: `{line: 'login failed for a from 198.51.100.9', offender: 198.51.100.9}`,
		decode: func(d *decoder, m *ast.MappingNode) (s Sample) {
			d.mapping(m, "logs.samples.", sampleKeys(&s))
			return s
		},
		complete: func(s Sample) error {
			if s.Offender == "" {
				return errors.New("a sample has no offender; give the address that the line is held against, or none")
			}
			return nil
		},
		follow: func(before []Sample, s Sample) error { return room(len(before), maxSamples, "samples") },
	}.key(list)
}

// sampleKeys returns the keys of an item of logs.samples.
func sampleKeys(s *Sample) []key {
	return []key{
		textKey("logs.samples.line", true, &s.Line, func(s string) (string, error) { return s, nil }),
		textKey("logs.samples.offender", true, &s.Offender, parseOffender),
	}
}

func parseOffender(s string) (string, error) {
	if s == NoOffender {
		return s, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return "", fmt.Errorf("%q is not an address; want one, or none", shorten(s, 80))
	}
	return a.Unmap().String(), nil
}

func room(n, most int, what string) error {
	if n >= most {
		return fmt.Errorf("more than %d %s", most, what)
	}
	return nil
}

func logsKey(list *[]LogSource) key {
	return itemList[LogSource]{
		name: "logs", example: "{name: sshd, journal: {units: [ssh.service]}, format: sshd, rule: login}",
		decode: (*decoder).log, complete: completeLog, follow: nextLog,
	}.key(list)
}

func (d *decoder) log(m *ast.MappingNode) LogSource {
	l := DefaultLog()
	d.mapping(m, "logs.", logKeys(&l))
	return l
}

// completeLog returns an error for a missing key, or for keys that contradict each other.
func completeLog(l LogSource) error {
	sources := 0
	for _, there := range []bool{l.File != "", len(l.Journal.Units) > 0, l.Syslog.Socket != ""} {
		if there {
			sources++
		}
	}
	switch {
	case l.Name == "":
		return errors.New("a log has no name; give it one, as in name: sshd")
	case sources != 1:
		return fmt.Errorf("%q needs one of file, journal: {units: […]} and syslog: {socket: …}", l.Name)
	case len(l.Journal.Units) > maxUnits:
		return fmt.Errorf("%q has more than %d units; make a second log of the rest", l.Name, maxUnits)
	case len(l.Journal.Users) == 0 || len(l.Syslog.Users) == 0:
		return fmt.Errorf("%q has no users; name them, as in users: [root]", l.Name)
	case (l.Format == "") == (len(l.Patterns) == 0):
		return fmt.Errorf("%q needs a format or patterns, and not both", l.Name)
	case l.Time != "" && l.Format != "":
		return fmt.Errorf("%q has a time, which is for patterns; the format finds it", l.Name)
	case l.Rule == "" && (l.Format != "" || slices.ContainsFunc(l.Patterns,
		func(p Pattern) bool { return p.Rule == "" })):
		return fmt.Errorf("%q has no rule; name one, as in rule: login", l.Name)
	}
	return l.try()
}

// nextLog returns an error if l cannot follow the logs before it.
func nextLog(before []LogSource, l LogSource) error {
	if slices.ContainsFunc(before, func(b LogSource) bool { return b.Name == l.Name }) {
		return fmt.Errorf("%q is listed twice; leave one of them out", l.Name)
	}
	if slices.ContainsFunc(before, func(b LogSource) bool {
		return l.Syslog.Socket != "" && b.Syslog.Socket == l.Syslog.Socket
	}) {
		return fmt.Errorf("%q has the socket of another log; name another one", l.Name)
	}
	if len(before) == MaxLogs {
		return fmt.Errorf("more than %d; %q is one too many", MaxLogs, l.Name)
	}
	return nil
}

// Rules returns the rules for which lines of the log count.
func (l LogSource) Rules() (rules []string) {
	if l.Rule != "" {
		rules = append(rules, l.Rule)
	}
	for _, p := range l.Patterns {
		if p.Rule != "" && !slices.Contains(rules, p.Rule) {
			rules = append(rules, p.Rule)
		}
	}
	return rules
}

// MayTell reports whether a reporter may tell the state of a log: it may report events for a rule
// of it.
func (c Config) MayTell(r Reporter, log string) bool {
	at := slices.IndexFunc(c.Logs, func(l LogSource) bool { return l.Name == log })
	return at >= 0 && slices.ContainsFunc(c.Logs[at].Rules(), r.MayReport)
}
