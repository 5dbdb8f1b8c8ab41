package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/report"
)

const (
	guesser   = "198.51.100.66"
	guesserV6 = "2001:db8:66::1"
)

// newRuledHost returns a host with the rules given. The test itself, which is root's, may report to
// all of them.
func newRuledHost(t *testing.T, rules string) (*host, *report.Client) {
	t.Helper()
	h := newHost(t)
	h.configured(ruledConfig(rules))
	h.start()
	return h, report.NewClient(reportSocket)
}

func ruledConfig(rules string) string {
	return "interfaces: [up0]\nmetrics: off\n" + rules +
		"reports: {reporters: [{name: shop, user: \"0\", rules: [\"*\"], may: [event, ask]}]}\n"
}

const loginRules = `
rules:
- {name: login, limit: 3, window: 1m, action: block, for: 10m, escalate: {factor: 2}}
- {name: scan, limit: 1, window: 1m, action: shadow}
`

// fails reports n failed logins, and returns the last verdict.
func fails(t *testing.T, c *report.Client, address string, n int) (v report.Verdict) {
	t.Helper()
	for range n {
		var err error
		v, err = c.Rate(t.Context(), report.Event{
			Address: netip.MustParseAddr(address), Rule: "login", User: "root\x1b[2J", Text: "failed password",
			Where: "auth.log:17",
		})
		check(t, err)
	}
	return v
}

// A source is dropped from the event on that exceeds the limit, over a restart and a kill of the
// daemon. why and list show the events.
func TestRuleDropsPackets(t *testing.T) {
	h, c := newRuledHost(t, loginRules)
	server := h.serve()
	if v := fails(t, c, guesser, 3); v.Verdict != "pass" || v.Points != 3 || h.dropped(server, guesser) {
		t.Fatalf("at the limit: %+v", v)
	}
	if v := fails(t, c, guesser, 1); v.Verdict != "drop" || v.Origin != "rule:login" {
		t.Fatalf("above the limit: %+v", v)
	}
	h.within("the source is dropped", patience, func() bool { return h.dropped(server, guesser) })
	why := h.ctl(0, "why", guesser).Stdout
	for _, want := range []string{"is DROPPED", "4 points in 1m; limit 3", `auth.log:17`, `user "root\x1b[2J"`,
		`"failed password"`, "told by shop"} {
		if !strings.Contains(why, want) {
			t.Errorf("why lacks %q:\n%s", want, why)
		}
	}
	entry := ctlJSON[[]control.Entry](h, "list", "--origin", "rule:login")[0]
	if e := entry.Evidence; e == nil || e.Count != 4 || e.PointLimit != 3 || len(e.Events) != 4 {
		t.Errorf("list: %+v", entry)
	}
	h.kill()
	if !h.dropped(server, guesser) {
		t.Error("with the daemon dead it is not dropped")
	}
	h.start()
	if v := fails(t, c, guesser, 1); v.Verdict != "drop" || !h.dropped(server, guesser) {
		t.Errorf("after a kill: %+v", v)
	}
	s := ctlJSON[control.RulesStatus](h, "rules", "login").Rules[0]
	if s.Entries != 1 || s.Events["held"] != 1 || s.Events["banned"] != 0 {
		t.Errorf("rules after a kill: %+v", s)
	}
	again := ctlJSON[[]control.Entry](h, "list", "--origin", "rule:login")[0]
	if !again.Expires.Equal(*entry.Expires) || len(again.Evidence.Events) != 4 {
		t.Errorf("after a kill: %+v, before: %+v", again, entry)
	}
}

// An offender gets a longer ban, also if the daemon was restarted meanwhile, until it is forgiven.
// Shadow entries count, and promote turns them into blocks.
func TestRuleForgiveAndPromote(t *testing.T) {
	h, c := newRuledHost(t, loginRules)
	server := h.serve()
	banned := func() time.Duration { return time.Until(fails(t, c, guesserV6, 4).Until).Round(time.Minute) }
	if d := banned(); d != 10*time.Minute {
		t.Errorf("the first ban lasts %s", d)
	}
	h.within("the source is dropped", patience, func() bool { return h.dropped(server, guesserV6) })
	h.ctl(0, "unblock", "2001:db8:66::/64", "--origin", "rule:login")
	check(t, h.run.Stop(t.Context()))
	h.start()
	if d := banned(); d != 20*time.Minute {
		t.Errorf("the second ban lasts %s, want twice as long", d)
	}
	h.within("the source is dropped again", patience, func() bool { return h.dropped(server, guesserV6) })
	out := h.ctl(0, "forgive", guesserV6, "--unblock").Stdout
	if !strings.Contains(out, "2 offences") || !strings.Contains(out, "unblocked 2001:db8:66::/64") ||
		h.dropped(server, guesserV6) {
		t.Errorf("forgive: %s", out)
	}
	if d := banned(); d != 10*time.Minute {
		t.Errorf("the ban after forgive lasts %s", d)
	}
	taken, err := c.Events(t.Context(), []report.Event{
		{Address: netip.MustParseAddr(guesser), Rule: "scan"}, {Address: netip.MustParseAddr(guesser), Rule: "scan"},
		{Address: netip.MustParseAddr("127.0.0.1"), Rule: "scan"},
		{Address: netip.MustParseAddr(guesser), Rule: "other"},
	})
	if err != nil || taken.Accepted != 2 || len(taken.Refused) != 2 || taken.Refused[0].Code != "bogon" ||
		taken.Refused[1].Code != "unknown_rule" {
		t.Fatalf("%+v, %v", taken, err)
	}
	h.within("the shadow entry is there", patience, func() bool {
		return len(ctlJSON[[]control.Entry](h, "list", "--origin", "rule:scan")) == 1
	})
	if h.dropped(server, guesser) {
		t.Error("a shadow entry drops")
	}
	h.ctl(0, "promote", guesser, "--origin", "rule:scan")
	if !h.dropped(server, guesser) {
		t.Error("after promote it is not dropped")
	}
}
