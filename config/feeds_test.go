package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
)

func TestParseFeeds(t *testing.T) {
	c, err := Parse("f", []byte(`
feeds:
- name: all
  url: http://lists.example/x.csv
  format: csv
  column: ip
  select: country=NL
  every: 1h
  use: limit
  limit: 100/s
  ttl: 2d
  max_shrink: 0%
  max_grow: 0
  max_share: 100%
  max_entries: 10
  minisign: RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaV
  sha256: https://lists.example/x.csv.sha256
  ca: /etc/ssl/ours.pem
  private: true
- {name: least, url: "https://lists.example/", use: shadow}
- {name: file, url: /var/lib/x/../list, use: block}
`))
	if err != nil {
		t.Fatal(err)
	}
	all := Feed{
		Name: "all", URL: "http://lists.example/x.csv", Format: "csv", Column: "ip", Select: "country=NL",
		Every: time.Hour, Use: UseLimit, Limit: policy.Rate{PerSecond: 100, Unit: policy.Packets},
		Replies: RepliesPass, TTL: 48 * time.Hour,
		MaxShrink: 0, MaxGrow: 0, MaxShare: 100, MaxEntries: 10,
		Minisign: "RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaV",
		SHA256:   "https://lists.example/x.csv.sha256", CA: "/etc/ssl/ours.pem", Private: true,
		CrowdSec: DefaultFeed().CrowdSec,
	}
	least, file := DefaultFeed(), DefaultFeed()
	least.Name, least.URL, least.Use = "least", "https://lists.example/", UseShadow
	file.Name, file.URL, file.Use = "file", "/var/lib/list", UseBlock
	if diff := cmp.Diff([]Feed{all, least, file}, c.Feeds); diff != "" {
		t.Errorf("feeds (-want +got):\n%s", diff)
	}
	if f, ok := c.Feed("least"); !ok || !reflect.DeepEqual(f, least) {
		t.Errorf("Feed = %v, %t", f, ok)
	}
	if _, ok := c.Feed("none"); ok {
		t.Error("there is a feed that is not in the file")
	}
}

func TestTooManyFeeds(t *testing.T) {
	var in strings.Builder
	in.WriteString("feeds:\n")
	for n := range MaxFeeds + 1 {
		fmt.Fprintf(&in, "- {name: f%d, url: /f, use: block}\n", n)
	}
	_, err := Parse("f", []byte(in.String()))
	if got := fmt.Sprint(err); !strings.HasPrefix(got, "f:66:3: feeds: more than 64; \"f64\" is one too many\n") {
		t.Errorf("error %q", got)
	}
}

// The agent's user may hand in all feeds, unless the file names reporters.
func TestReporters(t *testing.T) {
	const feeds = "feeds: [{name: a, url: /a, use: block}, {name: b, url: /b, use: block}]\n"
	for _, tt := range []struct {
		file, user string
		may        string // of the feeds a and b
	}{
		{"", "", ""},
		{feeds, "paraxial-feeds", "ab"},
		{feeds + "reports: {reporters: [{name: x, user: www, sets: [b, c]}]}", "www", "b"},
		{"reports: {reporters: [{name: x, user: www, sets: ['*']}]}", "www", "ab"},
	} {
		c := parsed(t, tt.file)
		var user, may string
		for _, r := range c.Reporters() {
			user += r.User
			for _, name := range []string{"a", "b"} {
				if r.MayPut(name) {
					may += name
				}
			}
		}
		if user != tt.user || may != tt.may {
			t.Errorf("%s: %q may hand in %q, want %q and %q", tt.file, user, may, tt.user, tt.may)
		}
	}
}

// A reporter with rules may report events for these; anything else has to be named.
func TestReporterRights(t *testing.T) {
	const feeds = "reports: {reporters: [{name: x, user: www, "
	for _, tt := range []struct {
		keys   string
		event  string // the rules of a and b that it may report events for
		rights []Right
	}{
		{"sets: [a]", "", nil},
		{"rules: [a]", "a", []Right{RightEvent}},
		{"rules: ['*'], may: [event, ask, ban]", "ab", []Right{RightEvent, RightAsk, RightBan}},
		{"rules: [a], may: [ask]", "", []Right{RightAsk}},
		{"may: [ban]", "", []Right{RightBan}},
	} {
		r := parsed(t, feeds+tt.keys+"}]}").Reporters()[0]
		event := ""
		for _, rule := range []string{"a", "b"} {
			if r.MayReport(rule) {
				event += rule
			}
		}
		if event != tt.event || !slices.Equal(r.May, tt.rights) {
			t.Errorf("%s: events for %q and %q, want %q and %q", tt.keys, event, r.May, tt.event, tt.rights)
		}
		want := DefaultReporter()
		if r.Ban != want.Ban || r.EventsPerSecond != want.EventsPerSecond {
			t.Errorf("%s: budget %+v and %d, want the default", tt.keys, r.Ban, r.EventsPerSecond)
		}
	}
	const budget = "may: [ban], events_per_second: 5, ban: {max_for: 2h, widest: {ipv6: 56}, live: 9}}]}"
	r := parsed(t, feeds+budget).Reporters()[0]
	want := BanBudget{MaxFor: 2 * time.Hour, Widest: Widest{IPv4: 32, IPv6: 56}, PerMinute: 60, Live: 9}
	if r.Ban != want || r.EventsPerSecond != 5 {
		t.Errorf("budget %+v and %d, want %+v and 5", r.Ban, r.EventsPerSecond, want)
	}
}

// Applications that only report are not missed.
func TestSubscribers(t *testing.T) {
	c := parsed(t, "reports: {reporters: [{name: a, user: a, rules: [x]}, {name: b, user: b, sets: [x], rules: [x]}]}")
	if got := c.Subscribers(); len(got) != 1 || got[0].Name != "b" || len(c.Reporters()) != 2 {
		t.Errorf("subscribers %+v", got)
	}
}

func TestTooManyReporters(t *testing.T) {
	var in strings.Builder
	in.WriteString("reports:\n  reporters:\n")
	for n := range MaxReporters + 1 {
		fmt.Fprintf(&in, "  - {name: r%d, user: u%d, sets: [a]}\n", n, n)
	}
	_, err := Parse("f", []byte(in.String()))
	want := "f:19:5: reports.reporters: more than 16; \"r16\" is one too many"
	if got := fmt.Sprint(err); !strings.HasPrefix(got, want) {
		t.Errorf("error %q", got)
	}
}
