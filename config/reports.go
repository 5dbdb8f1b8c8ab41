package config

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/paraxial/paraxial/policy"
)

// Reports are the sockets of the daemon for programs with a lesser right, which hand in sets
// and report events.
type Reports struct {
	// The Unix socket for reporters, such as paraxial-agent. An absolute path. `off` turns it
	// off.
	Socket string
	// The Unix socket for programs with libblocklist, such as `/run/paraxial/blocklist.sock`. An
	// absolute path. `""` turns it off. See [reporting.md](reporting.md#libblocklist).
	BlocklistSocket string
	// The users that may report, and what. See Reporters below.
	Reporters []Reporter
}

// Reporter is a user that may hand in sets, report events, ask for verdicts or ban.
type Reporter struct {
	// The name of the reporter. Its bans have the origin `app:NAME`.
	Name string
	// The user, by name or number. Each user may be one reporter.
	User string
	// The feeds whose sets it may hand in, by their names. `["*"]` means all.
	Sets []string
	// The rules for which it may report events, by their names. `["*"]` means all.
	Rules []string
	// The requests that it may make besides handing in sets: `event`, `ask`, `ban`. The default is
	// `[event]` if it has rules, otherwise `[]`.
	May []Right
	// The largest number of events a second. Those beyond it are refused.
	EventsPerSecond int
	Ban             BanBudget
	// The proof that it needs for events. `connection` takes them from
	// `reports.blocklist_socket` alone, with the connection of the source. `""` needs none.
	Proof Proof
	// The local ports that such a connection may have, at most 16.
	Ports []uint16
}

// BanBudget bounds the bans of a reporter.
type BanBudget struct {
	// The longest ban.
	MaxFor time.Duration
	Widest Widest
	// The largest number of bans a minute.
	PerMinute int
	// The largest number of its bans in force at the same time.
	Live int
}

// Widest are the shortest prefixes that a reporter may ban.
type Widest struct {
	// The shortest IPv4 prefix of a ban.
	IPv4 int
	// The shortest IPv6 prefix of a ban.
	IPv6 int
}

// Right is what a reporter may do besides handing in sets.
type Right string

// The rights.
const (
	RightEvent Right = "event" // report events for its rules
	RightAsk   Right = "ask"   // ask for verdicts
	RightBan   Right = "ban"   // ban within its budget
)

// Proof is what must come with the events of a reporter.
type Proof string

// ProofConnection is the connection of the source, as libblocklist passes it.
const ProofConnection Proof = "connection"

// All stands for all feeds in Reporter.Sets, and for all rules in Reporter.Rules.
const All = "*"

// DefaultReporter returns the values of the keys that a reporter leaves out.
func DefaultReporter() Reporter {
	return Reporter{
		EventsPerSecond: 100_000,
		Ban: BanBudget{
			MaxFor: 24 * time.Hour, Widest: Widest{IPv4: 32, IPv6: 64}, PerMinute: 60, Live: 1000,
		},
	}
}

// Limits of reporters.
const (
	MaxReporters       = 16
	MaxEventsPerSecond = 1_000_000
	maxReporterPorts   = 16
	maxBanFor          = 52 * 7 * 24 * time.Hour
	maxPerMinute       = 10_000
	maxLiveBans        = 100_000
)

// The reporters that there are if the file names none.
const (
	feedsReporter = "feeds"
	feedsUser     = "paraxial-feeds"
	logsReporter  = "logs"
	logsUser      = "paraxial-logs"
)

// reporterKeys returns the keys of an item of reports.reporters.
func reporterKeys(r *Reporter) []key {
	return []key{
		textKey("reports.reporters.name", true, &r.Name, parseFeedName),
		textKey("reports.reporters.user", true, &r.User, parseUser),
		listKey("reports.reporters.sets", true, &r.Sets, text, parseNameOrAll, func(s string) string { return s }),
		listKey("reports.reporters.rules", true, &r.Rules, text, parseNameOrAll, func(s string) string { return s }),
		listKey("reports.reporters.may", true, &r.May, text, parseRight, func(r Right) string { return string(r) }),
		numberKey("reports.reporters.events_per_second", true, &r.EventsPerSecond, 1, MaxEventsPerSecond),
		durationKey("reports.reporters.ban.max_for", true, &r.Ban.MaxFor, time.Second, maxBanFor),
		numberKey("reports.reporters.ban.widest.ipv4", true, &r.Ban.Widest.IPv4, policy.WidestIPv4, 32),
		numberKey("reports.reporters.ban.widest.ipv6", true, &r.Ban.Widest.IPv6, policy.WidestIPv6, 128),
		numberKey("reports.reporters.ban.per_minute", true, &r.Ban.PerMinute, 1, maxPerMinute),
		numberKey("reports.reporters.ban.live", true, &r.Ban.Live, 1, maxLiveBans),
		textKey("reports.reporters.proof", true, &r.Proof, parseProof),
		listKey("reports.reporters.ports", true, &r.Ports, number, parsePort, formatPort),
	}
}

func parseNameOrAll(s string) (string, error) {
	if s == All {
		return s, nil
	}
	return parseFeedName(s)
}

func parseRight(s string) (Right, error) { return oneOf(s, RightEvent, RightAsk, RightBan) }

func parseProof(s string) (Proof, error) {
	if s == "" {
		return "", nil
	}
	return oneOf(s, ProofConnection)
}

func parseUser(s string) (string, error) {
	if s, err := parseGroup(s); err != nil || s == "" {
		return "", fmt.Errorf("%q cannot be a user; want a name such as paraxial-feeds, or a number in quotes", s)
	}
	return s, nil
}

func parseReportSocket(s string) (string, error) {
	if s == "" || s == "off" {
		return "", nil
	}
	return parseSocket(s)
}

func reportersKey(list *[]Reporter) key {
	return itemList[Reporter]{
		name: "reports.reporters", example: `{name: shop, user: www-data, rules: [login]}`,
		decode: (*decoder).reporter, complete: completeReporter, follow: nextReporter,
	}.key(list)
}

func (d *decoder) reporter(m *ast.MappingNode) Reporter {
	r := DefaultReporter()
	d.mapping(m, "reports.reporters.", reporterKeys(&r))
	if len(r.Rules) > 0 && len(r.May) == 0 {
		r.May = []Right{RightEvent}
	}
	return r
}

func completeReporter(r Reporter) error {
	switch {
	case r.Name == "":
		return errors.New("a reporter has no name; give it one, as in name: feeds")
	case r.User == "":
		return fmt.Errorf("%q has no user; give it one, as in user: paraxial-feeds", r.Name)
	case len(r.Sets) == 0 && len(r.Rules) == 0 && len(r.May) == 0:
		return fmt.Errorf("%q may do nothing; name the feeds that it may hand in, as in sets: [\"*\"], "+
			"the rules that it may report events for, as in rules: [\"*\"], or what else it may do, as in may: [ask]",
			r.Name)
	case r.Can(RightEvent) && len(r.Rules) == 0:
		return fmt.Errorf("%q may report events, but for no rule; name its rules, or rules: [\"*\"]", r.Name)
	case len(r.Ports) > maxReporterPorts:
		return fmt.Errorf("%q has more than %d ports", r.Name, maxReporterPorts)
	}
	return r.checkProof()
}

// checkProof returns an error if a message of libblocklist could not be taken: it names no rule.
func (r Reporter) checkProof() error {
	if r.Proof == "" {
		if len(r.Ports) > 0 {
			return fmt.Errorf("%q has ports, but no proof; ports belong to proof: connection", r.Name)
		}
		return nil
	}
	switch {
	case len(r.Rules) != 1 || r.Rules[0] == All:
		return fmt.Errorf("%q has proof: connection; name the one rule to which its events count, as in rules: [sshd]",
			r.Name)
	case len(r.Ports) == 0:
		return fmt.Errorf("%q has proof: connection, but no ports; name the ports of its program, as in ports: [22]",
			r.Name)
	}
	return nil
}

// nextReporter returns an error if r cannot follow the reporters before it.
func nextReporter(before []Reporter, r Reporter) error {
	for _, b := range before {
		switch {
		case b.Name == r.Name:
			return fmt.Errorf("%q is listed twice; leave one of them out", r.Name)
		case b.User == r.User:
			return fmt.Errorf("%q and %q are the same user; put their sets together", b.Name, r.Name)
		}
	}
	if len(before) == MaxReporters {
		return fmt.Errorf("more than %d; %q is one too many", MaxReporters, r.Name)
	}
	return nil
}

// Reporters returns who may report: the reporters of the file or, if it names none, the users
// of paraxial-agent: for all feeds if there are feeds, and for all rules if there are logs.
func (c Config) Reporters() []Reporter {
	if len(c.Reports.Reporters) > 0 {
		return c.Reports.Reporters
	}
	var list []Reporter
	if len(c.Feeds) > 0 {
		r := DefaultReporter()
		r.Name, r.User, r.Sets = feedsReporter, feedsUser, []string{All}
		list = append(list, r)
	}
	if len(c.Logs) > 0 {
		r := DefaultReporter()
		r.Name, r.User, r.Rules, r.May = logsReporter, logsUser, []string{All}, []Right{RightEvent}
		list = append(list, r)
	}
	return list
}

// Subscribers returns the reporters that hand in sets. They ask for commands all the time; others
// report when something happens.
func (c Config) Subscribers() []Reporter {
	return slices.DeleteFunc(slices.Clone(c.Reporters()), func(r Reporter) bool { return len(r.Sets) == 0 })
}

// MayPut reports whether r may hand in the set of a feed.
func (r Reporter) MayPut(name string) bool { return allOr(r.Sets, name) }

// MayReport reports whether r may report events for a rule.
func (r Reporter) MayReport(rule string) bool { return r.Can(RightEvent) && allOr(r.Rules, rule) }

// Can reports whether r has a right.
func (r Reporter) Can(right Right) bool { return slices.Contains(r.May, right) }

// allOr reports whether a list has a name, or stands for all.
func allOr(list []string, name string) bool {
	return slices.Contains(list, All) || slices.Contains(list, name)
}
