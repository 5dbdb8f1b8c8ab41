package config

import (
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// Reports is the second socket of the daemon, on which programs with a lesser right hand in
// their sets.
type Reports struct {
	// The Unix socket for reporters, such as paraxial-agent. An absolute path. `off` turns it
	// off.
	Socket string
	// The users that may hand in sets, and which. See Reporters below.
	Reporters []Reporter
}

// Reporter is a user that may hand in sets.
type Reporter struct {
	// The name of the reporter.
	Name string
	// The user, by name or number. Each user may be one reporter.
	User string
	// The feeds whose sets it may hand in, by their names. `["*"]` means all.
	Sets []string
}

// AllSets stands for all feeds in Reporter.Sets.
const AllSets = "*"

// MaxReporters is the largest number of reporters.
const MaxReporters = 16

// The reporter that there is if the file names none.
const (
	feedsReporter = "feeds"
	feedsUser     = "paraxial-feeds"
)

// reporterKeys returns the keys of an item of reports.reporters.
func reporterKeys(r *Reporter) []key {
	return []key{
		textKey("reports.reporters.name", true, &r.Name, parseFeedName),
		textKey("reports.reporters.user", true, &r.User, parseUser),
		listKey("reports.reporters.sets", true, &r.Sets, text, parseSetName, func(s string) string { return s }),
	}
}

func parseSetName(s string) (string, error) {
	if s == AllSets {
		return s, nil
	}
	return parseFeedName(s)
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
		name: "reports.reporters", example: `{name: feeds, user: paraxial-feeds, sets: ["*"]}`,
		decode: (*decoder).reporter, complete: completeReporter, follow: nextReporter,
	}.key(list)
}

func (d *decoder) reporter(m *ast.MappingNode) Reporter {
	var r Reporter
	d.mapping(m, "reports.reporters.", reporterKeys(&r))
	return r
}

func completeReporter(r Reporter) error {
	switch {
	case r.Name == "":
		return errors.New("a reporter has no name; give it one, as in name: feeds")
	case r.User == "":
		return fmt.Errorf("%q has no user; give it one, as in user: paraxial-feeds", r.Name)
	case len(r.Sets) == 0:
		return fmt.Errorf("%q has no sets; name the feeds that it may hand in, or sets: [\"*\"]", r.Name)
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

// Reporters returns who may hand in sets: the reporters of the file or, if there are feeds
// and the file names no reporter, the user of paraxial-agent for all feeds.
func (c Config) Reporters() []Reporter {
	if len(c.Reports.Reporters) > 0 || len(c.Feeds) == 0 {
		return c.Reports.Reporters
	}
	return []Reporter{{Name: feedsReporter, User: feedsUser, Sets: []string{AllSets}}}
}

// MayPut reports whether r may hand in the set of a feed.
func (r Reporter) MayPut(name string) bool {
	return slices.Contains(r.Sets, AllSets) || slices.Contains(r.Sets, name)
}
