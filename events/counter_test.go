package events

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

const (
	second = policy.Deadline(time.Second)
	minute = policy.Deadline(time.Minute)
	start  = 1000 * minute // the boot time of 0 in the tests
)

// rule returns a rule that blocks for ten minutes above three points in a minute.
func rule(changes ...func(*Rule)) Rule {
	r := Default()
	r.Name, r.Limit, r.Window, r.Action = "login", 3, time.Minute, Block
	for _, change := range changes {
		change(&r)
	}
	return r
}

func counter(t testing.TB, o Options, rules ...Rule) *Counter {
	t.Helper()
	if err := CheckAll(rules); err != nil {
		t.Fatal(err)
	}
	if o.Ladder == nil {
		o.Ladder = ladder.New(1000, 0)
	}
	return NewCounter(rules, o, nil)
}

// did is what became of an event, in words: "counted 2", "banned block 198.51.100.9/32 0s+10m".
func did(o Outcome) string {
	words := []string{string(o.Result)}
	if o.Result == Counted {
		words = append(words, fmt.Sprint(o.Points))
	}
	for _, d := range o.Decisions {
		words = append(words, d.Kind.String(), string(d.Action), d.Prefix.String(), policy.FormatTTL(d.For))
	}
	if o.Future {
		words = append(words, "future")
	}
	return strings.Join(words, " ")
}

// step is an event, the time when it arrives and what becomes of it.
type step struct {
	now, at string // after start; without at, it happened when it arrives
	event   Event  // of 198.51.100.9 unless it says otherwise
	want    string
}

func at(t *testing.T, s string) policy.Deadline {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return start + policy.Deadline(d)
}

func (s step) run(t *testing.T, c *Counter, n int) {
	t.Helper()
	e := s.event
	if !e.Address.IsValid() {
		e.Address = netip.MustParseAddr("198.51.100.9")
	}
	if e.Rule == "" {
		e.Rule = "login"
	}
	if s.at != "" {
		e.At = at(t, s.at)
	}
	if got := did(c.Add(at(t, s.now), e)); got != s.want {
		t.Errorf("event %d, at %s: %s, want %s", n, s.now, got, s.want)
	}
}

func from(s string) Event { return Event{Address: netip.MustParseAddr(s)} }

const banned = "banned new block 198.51.100.9/32 10m"

func TestAdd(t *testing.T) {
	user := func(s string) Event { return Event{User: s} }
	ok := func(s string) Event { return Event{User: s, Success: true} }
	other := from("198.51.100.8")
	other.User, other.Success = "a", true
	rate := policy.Rate{PerSecond: 5, Unit: policy.Packets}
	points := func(n int) Event { return Event{Points: n} }
	escalates := func(r *Rule) { r.Escalate = ladder.Escalate{Factor: 2, Max: time.Hour, Forget: time.Hour} }
	for name, tt := range map[string]struct {
		rule  Rule
		steps []step
	}{
		"the event above the limit bans": {rule(), []step{
			{now: "0s", want: "counted 1"}, {now: "1s", want: "counted 2"}, {now: "2s", want: "counted 3"},
			{now: "3s", want: banned}, {now: "4s", want: "held"}, {now: "10m2s", want: "held"},
			{now: "10m3s", want: "counted 1"},
		}},
		"a limit of 0 bans at once": {rule(func(r *Rule) { r.Limit = 0 }), []step{{now: "0s", want: banned}}},
		"the window slides": {rule(), []step{
			{now: "0s", want: "counted 1"}, {now: "30s", want: "counted 2"}, {now: "59s", want: "counted 3"},
			{now: "60s", want: "counted 3"}, {now: "89s", want: banned},
		}},
		"the same moment counts each time": {rule(), []step{
			{now: "0s", want: "counted 1"}, {now: "0s", want: "counted 2"}, {now: "0s", want: "counted 3"},
			{now: "0s", want: banned},
		}},
		"points": {rule(), []step{
			{now: "0s", event: points(2), want: "counted 2"}, {now: "0s", event: points(0), want: "counted 3"},
			{now: "0s", event: points(-1), want: "invalid"}, {now: "0s", event: points(1001), want: "invalid"},
			{now: "1s", event: points(1000), want: banned},
		}},
		"a network of IPv6 is one source": {rule(func(r *Rule) { r.Limit = 1 }), []step{
			{now: "0s", event: from("2001:db8:1:2::1"), want: "counted 1"},
			{now: "0s", event: from("2001:db8:1:3::1"), want: "counted 1"},
			{now: "1s", event: from("2001:db8:1:2:ffff::2"), want: "banned new block 2001:db8:1:2::/64 10m"},
		}},
		"a mapped address is IPv4": {rule(func(r *Rule) { r.Limit = 1 }), []step{
			{now: "0s", event: from("::ffff:198.51.100.9"), want: "counted 1"}, {now: "1s", want: banned},
		}},
		"per": {rule(func(r *Rule) { r.Limit, r.Per = 1, ladder.Per{IPv4: 24, IPv6: 48} }), []step{
			{now: "0s", event: from("198.51.100.1"), want: "counted 1"},
			{now: "0s", event: from("198.51.100.2"), want: "banned new block 198.51.100.0/24 10m"},
			{now: "0s", event: from("198.51.100.3"), want: "held"},
			{now: "0s", event: from("198.51.101.3"), want: "counted 1"},
		}},
		"the ban counts from the event": {rule(func(r *Rule) { r.Limit = 0 }), []step{
			{now: "9m", at: "0s", want: banned}, {now: "9m59s", want: "held"}, {now: "10m", want: banned},
		}},
		"a ban that would be over bans nobody": {rule(func(r *Rule) { r.Limit = 0 }), []step{
			{now: "10m", at: "0s", want: "old"}, {now: "10m", at: "1s", want: banned},
		}},
		"an old event counts with later ones": {rule(func(r *Rule) { r.Limit, r.Window = 1, time.Hour }), []step{
			{now: "1h", at: "30m", want: "counted 1"}, {now: "1h", at: "55m", want: banned},
		}},
		"an event that can lead to nothing is not counted": {rule(), []step{
			{now: "11m", at: "0s", want: "old"}, {now: "11m", at: "1s", want: "counted 1"},
		}},
		"from before boot": {rule(func(r *Rule) { r.Limit = 0 }), []step{{now: "0s", at: "-2000h", want: "old"}}},
		"a time in the future is now": {rule(func(r *Rule) { r.Limit = 0 }), []step{
			{now: "0s", at: "24h", want: banned + " future"}, {now: "10m", want: banned},
		}},
		"a little in the future is not told": {rule(), []step{{now: "0s", at: "1s", want: "counted 1"}}},
		"out of order": {rule(), []step{
			{now: "50s", want: "counted 1"}, {now: "51s", at: "5s", want: "counted 2"},
			{now: "52s", at: "20s", want: "counted 3"}, {now: "66s", want: "counted 3"}, {now: "66s", want: banned},
		}},
		"too late for the window": {rule(), []step{
			{now: "2m", want: "counted 1"}, {now: "2m", at: "59s", want: "old"},
			{now: "2m", at: "61s", want: "counted 2"},
		}},
		"distinct users": {rule(func(r *Rule) { r.Distinct, r.Limit = DistinctUser, 2 }), []step{
			{now: "0s", event: user("a"), want: "counted 1"}, {now: "1s", event: user("a"), want: "counted 1"},
			{now: "2s", event: user("b"), want: "counted 2"}, {now: "3s", event: user("a"), want: "counted 2"},
			{now: "62s", event: user("c"), want: "counted 2"}, // b is out of the window, the last a is not
			{now: "62s", event: user(""), want: banned},
		}},
		"distinct paths": {rule(func(r *Rule) { r.Distinct, r.Limit = DistinctPath, 1 }), []step{
			{now: "0s", event: Event{Path: "/a", User: "x"}, want: "counted 1"},
			{now: "0s", event: Event{Path: "/a", User: "y"}, want: "counted 1"},
			{now: "0s", event: Event{Path: "/b", User: "y"}, want: banned},
		}},
		"a success is ignored": {rule(), []step{
			{now: "0s", event: user("a"), want: "counted 1"}, {now: "1s", event: ok("a"), want: "success"},
			{now: "2s", event: user("a"), want: "counted 2"},
		}},
		"a success resets its own user": {rule(func(r *Rule) { r.Success = ResetSuccess }), []step{
			{now: "0s", event: user("a"), want: "counted 1"}, {now: "1s", event: user("b"), want: "counted 2"},
			{now: "2s", event: user("a"), want: "counted 3"}, {now: "3s", event: ok("a"), want: "success"},
			{now: "4s", event: user("b"), want: "counted 2"},
			{now: "5s", event: ok("c"), want: "success"}, {now: "6s", event: user("b"), want: "counted 3"},
			{now: "7s", at: "1s", event: ok("b"), want: "success"}, // later failures still count
			{now: "8s", event: user("b"), want: "counted 3"},
		}},
		"a success of another source resets nothing": {rule(func(r *Rule) { r.Success = ResetSuccess }), []step{
			{now: "0s", event: user("a"), want: "counted 1"},
			{now: "1s", event: other, want: "success"},
			{now: "2s", event: user("a"), want: "counted 2"},
		}},
		"escalates": {rule(escalates, func(r *Rule) { r.Limit = 0 }), []step{
			{now: "0s", want: banned}, {now: "20m", want: "banned new block 198.51.100.9/32 20m"},
			{now: "50m", want: "banned new block 198.51.100.9/32 40m"},
			{now: "2h", want: "banned new block 198.51.100.9/32 1h"}, {now: "4h", want: banned},
		}},
		"a longer ban is old later": {rule(escalates, func(r *Rule) { r.Limit = 0 }), []step{
			{now: "0s", want: banned}, {now: "30m", at: "15m", want: "banned new block 198.51.100.9/32 20m"},
		}},
		"shadow": {rule(func(r *Rule) { r.Limit, r.Action = 0, Shadow }), []step{
			{now: "0s", want: "banned new shadow 198.51.100.9/32 10m"}, {now: "1s", want: "held"},
		}},
		"limit": {rule(func(r *Rule) { r.Limit, r.Action, r.Rate = 0, Limit, rate }), []step{
			{now: "0s", want: "banned new limit 198.51.100.9/32 10m"},
		}},
		"an alert is given once": {rule(func(r *Rule) { r.Limit, r.Action = 1, Alert }), []step{
			{now: "0s", want: "counted 1"}, {now: "1s", want: "alerted new alert 198.51.100.9/32 10m"},
			{now: "2s", want: "counted 1"}, {now: "3s", want: "counted 2"}, {now: "9m", want: "counted 1"},
			{now: "10m1s", want: "counted 1"}, {now: "10m2s", want: "alerted new alert 198.51.100.9/32 10m"},
		}},
		"never from words": {rule(func(r *Rule) { r.Limit = 0 }), []step{
			{now: "0s", event: from("127.0.0.1"), want: "bogon"}, {now: "0s", event: from("10.0.0.4"), want: "bogon"},
			{now: "0s", event: from("0.0.0.2"), want: "bogon"}, {now: "0s", event: from("224.0.0.1"), want: "bogon"},
			{now: "0s", event: from("::1"), want: "bogon"}, {now: "0s", event: from("fe80::1"), want: "bogon"},
			{now: "0s", event: from("fd00::1"), want: "bogon"}, {now: "0s", event: from("100.64.0.1"), want: "bogon"},
			{now: "0s", event: from("255.255.255.255"), want: "bogon"},
			{now: "0s", event: from("::ffff:192.168.0.1"), want: "bogon"},
			{now: "0s", event: from("fe80::1%eth0"), want: "invalid"},
		}},
		"a network with addresses that are not public": {
			rule(func(r *Rule) { r.Per.IPv4, r.Limit = 8, 0 }), []step{
				{now: "0s", event: from("172.1.2.3"), want: "banned new block 172.1.2.3/32 10m"},
				{now: "0s", event: from("9.1.2.3"), want: "banned new block 9.0.0.0/8 10m"},
			},
		},
		"widened by addresses beside private ones": {
			rule(func(r *Rule) { r.Limit, r.Widen.Sources, r.Widen.IPv4 = 0, 2, 8 }), []step{
				{now: "0s", event: from("172.1.2.3"), want: "banned new block 172.1.2.3/32 10m"},
				{now: "0s", event: from("172.1.2.4"), want: "banned new block 172.1.2.4/32 10m"},
				{now: "0s", event: from("172.1.2.5"), want: "banned new block 172.1.2.5/32 10m"},
			},
		},
		"another rule": {rule(), []step{{now: "0s", event: Event{Rule: "scan"}, want: "unknown_rule"}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := counter(t, Options{}, tt.rule)
			for n, s := range tt.steps {
				s.run(t, c, n)
			}
		})
	}
}

func TestExempt(t *testing.T) {
	exempt := map[string]Result{
		"198.51.100.9/32": Allowed, "192.0.2.0/24": Proxy, "2001:db8::/64": OwnAddress, "2001:db8::1/128": OwnAddress,
	}
	o := Options{Exempt: func(p netip.Prefix) Result {
		for s, r := range exempt {
			if e := netip.MustParsePrefix(s); e == p || e.Bits() < p.Bits() && e.Addr().Is4() && e.Contains(p.Addr()) {
				return r
			}
		}
		return ""
	}}
	c := counter(t, o, rule(func(r *Rule) { r.Limit = 0 }))
	for n, s := range []step{
		{now: "0s", want: "allowed"},
		{now: "0s", event: from("192.0.2.7"), want: "proxy"},
		{now: "0s", event: from("2001:db8::1"), want: "own_address"},
		// A neighbour of a protected address in its network counts by itself.
		{now: "0s", event: from("2001:db8::2"), want: "banned new block 2001:db8::2/128 10m"},
		{now: "0s", event: from("2001:db8::3"), want: "banned new block 2001:db8::3/128 10m"},
	} {
		s.run(t, c, n)
	}
	got := fmt.Sprint(c.Stats(start).Tallies)
	if want := "[{login  allowed 1} {login  banned 2} {login  own_address 1} {login  proxy 1}]"; got != want {
		t.Errorf("counted %s, want %s", got, want)
	}
}

func TestWiden(t *testing.T) {
	r := rule(func(r *Rule) { r.Limit, r.Widen = 0, ladder.Widen{Sources: 2, IPv4: 24, IPv6: 56} })
	c := counter(t, Options{}, r)
	for n, s := range []step{
		{now: "0s", event: from("2001:db8:0:1::1"), want: "banned new block 2001:db8:0:1::/64 10m"},
		{now: "1s", event: from("2001:db8:1:1::1"), want: "banned new block 2001:db8:1:1::/64 10m"},
		{now: "2s", event: from("2001:db8:0:2::1"),
			want: "banned new block 2001:db8:0:2::/64 10m new block 2001:db8::/56 10m"},
		{now: "3s", event: from("2001:db8:0:3::1"), want: "held"},
		{now: "10m1s", event: from("2001:db8:0:3::1"), want: "held"}, // the sources' own bans are over
		{now: "10m2s", event: from("2001:db8:0:3::1"), want: "banned new block 2001:db8:0:3::/64 10m"},
	} {
		s.run(t, c, n)
	}
}

func TestBreaker(t *testing.T) {
	o := Options{Ladder: ladder.New(1000, 2)}
	c := counter(t, o, rule(func(r *Rule) { r.Limit = 0 }))
	for n, s := range []step{
		{now: "0s", event: from("198.51.100.1"), want: "banned new block 198.51.100.1/32 10m"},
		{now: "0s", event: from("198.51.100.2"), want: "banned new block 198.51.100.2/32 10m"},
		{now: "0s", event: from("198.51.100.3"), want: "banned new shadow 198.51.100.3/32 10m"},
		{now: "1s", event: from("198.51.100.3"), want: "held"},
		{now: "61s", event: from("198.51.100.3"), want: "banned new block 198.51.100.3/32 10m"},
		{now: "62s", event: from("198.51.100.3"), want: "held"},
	} {
		s.run(t, c, n)
	}
	if b := o.Ladder.Breaker(); b.Open || b.Trips != 1 {
		t.Errorf("breaker %+v", b)
	}
}

func TestRoom(t *testing.T) {
	shadows := rule(func(r *Rule) { r.Name, r.Limit, r.Action = "shadows", 0, Shadow })
	o := Options{Ladder: ladder.New(2, 0)}
	c := counter(t, o, rule(func(r *Rule) { r.Limit = 0 }), shadows)
	shadow := func(s string) Event { e := from(s); e.Rule = "shadows"; return e }
	for n, s := range []step{
		{now: "0s", event: shadow("198.51.100.1"), want: "banned new shadow 198.51.100.1/32 10m"},
		{now: "0s", event: shadow("198.51.100.2"), want: "banned new shadow 198.51.100.2/32 10m"},
		{now: "1s", event: shadow("198.51.100.3"), want: "no_room"},
		{now: "2s", event: from("198.51.100.4"),
			want: "banned lifted shadow 198.51.100.1/32 forever new block 198.51.100.4/32 10m"},
		{now: "2s", event: from("198.51.100.5"),
			want: "banned lifted shadow 198.51.100.2/32 forever new block 198.51.100.5/32 10m"},
		{now: "2s", event: from("198.51.100.6"), want: "no_room"},
	} {
		s.want = strings.ReplaceAll(s.want, "forever", policy.FormatTTL(0))
		s.run(t, c, n)
	}
	// A detector that uses the same ladder takes room, too.
	c.Remove("login", netip.MustParsePrefix("198.51.100.5/32"))
	o.Ladder.Take(false)
	step{now: "3s", event: from("198.51.100.6"), want: "no_room"}.run(t, c, 7)
	o.Ladder.Give(false)
	step{now: "3s", event: from("198.51.100.6"), want: "banned new block 198.51.100.6/32 10m"}.run(t, c, 8)
	n, stats := uint64(0), c.Stats(start)
	for _, tally := range stats.Tallies {
		if tally.Result == NoRoom && tally.Rule == stats.Rules[0].Rule {
			n += tally.Events
		}
	}
	if n != 2 {
		t.Errorf("no room for %d, want 2", n)
	}
}

func TestEvidence(t *testing.T) {
	c := counter(t, Options{}, rule(func(r *Rule) { r.Limit = 6 }))
	var last Outcome
	for n := range 7 {
		last = c.Add(start+policy.Deadline(n)*second, Event{
			Address: netip.MustParseAddr("198.51.100.9"), Rule: "login", Reporter: "shop",
			Text: fmt.Sprint(n, strings.Repeat("é", 200)), Where: "/var/log/x:" + fmt.Sprint(n),
		})
	}
	got := last.Decisions[0].Evidence
	if got.Points != 7 || got.Limit != 6 || got.First != start || got.Last != start+6*second || got.Offence != 1 ||
		got.Reporter != "shop" || len(got.Seen) != 5 {
		t.Fatalf("evidence %+v", got)
	}
	for n, s := range got.Seen {
		want := fmt.Sprint(n+2, strings.Repeat("é", 95)) // 192 bytes would end within a character
		if s.Text != want || s.Where != "/var/log/x:"+fmt.Sprint(n+2) || s.At != start+policy.Deadline(n+2)*second {
			t.Errorf("event %d: %+v", n, s)
		}
	}
}

func TestAdoptAndRemove(t *testing.T) {
	p := netip.MustParsePrefix("198.51.100.9/32")
	c := counter(t, Options{}, rule(func(r *Rule) { r.Limit = 0 }))
	c.Adopt(start, []Live{
		{"login", p, Block, 4, start + minute}, {"gone", p, Block, 4, start + minute},
		{"login", netip.MustParsePrefix("198.51.100.8/32"), Block, 4, start},
	})
	if n := c.Stats(start).Rules[0].Entries; n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	step{now: "1s", want: "held"}.run(t, c, 0)
	c.Remove("login", p)
	step{now: "2s", want: banned}.run(t, c, 1)
}

func TestReload(t *testing.T) {
	scan := rule(func(r *Rule) { r.Name = "scan" })
	before := counter(t, Options{}, rule(), scan)
	step{now: "0s", want: "counted 1"}.run(t, before, 0)
	step{now: "0s", event: Event{Rule: "scan"}, want: "counted 1"}.run(t, before, 0)
	scan.Limit = 5
	c := NewCounter([]Rule{scan, rule()}, Options{Ladder: ladder.New(1000, 0)}, before)
	step{now: "1s", want: "counted 2"}.run(t, c, 1)
	step{now: "1s", event: Event{Rule: "scan"}, want: "counted 1"}.run(t, c, 2)
	got := fmt.Sprint(c.Stats(start).Tallies)
	if want := "[{scan  counted 2} {login  counted 2}]"; got != want {
		t.Errorf("counted %s, want %s", got, want)
	}
}

func TestGoingOn(t *testing.T) {
	c := counter(t, Options{}, rule(func(r *Rule) { r.Limit = 0 }))
	step{now: "0s", want: banned}.run(t, c, 0)
	step{now: "29s", want: "held"}.run(t, c, 1)
	step{now: "2m", at: "10s", want: "held"}.run(t, c, 2) // a slow log
	if got := c.GoingOn(); len(got) != 0 {
		t.Errorf("%+v go on", got)
	}
	step{now: "2m", want: "held"}.run(t, c, 3)
	if got := c.GoingOn(); len(got) != 1 || got[0].Events != 1 {
		t.Errorf("%+v go on", got)
	}
	c.Stats(start + 10*minute)
	if got := c.GoingOn(); len(got) != 0 {
		t.Errorf("%+v go on after the ban", got)
	}
}
