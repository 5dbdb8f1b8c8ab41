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

// TestMemoryIsBounded has one rule with many sources, and another one with few. The many push out
// each other, and not the few.
func TestMemoryIsBounded(t *testing.T) {
	const memory = 200_000
	other := rule(func(r *Rule) { r.Name, r.Limit = "scan", 1 })
	c := counter(t, Options{Memory: memory}, rule(), other)
	few := from("198.51.100.9")
	few.Rule = "scan"
	c.Add(start, few)
	for n := range 5000 {
		e := from(fmt.Sprintf("203.0.%d.%d", n>>8, n&255))
		e.Rule, e.Text = "login", strings.Repeat("x", 300)
		c.Add(start+second, e)
		if c.size > memory {
			t.Fatalf("%d bytes after %d sources", c.size, n)
		}
	}
	s := c.Stats(start + second)
	if got := s.Rules[0].Sources + int(s.Rules[0].Evicted); got != 5000 || s.Rules[0].Evicted == 0 {
		t.Errorf("%+v, want 5000 sources, counted or evicted", s.Rules[0])
	}
	if got := did(c.Add(start+second, few)); got != "banned new block 198.51.100.9/32 10m" {
		t.Errorf("the few: %s", got)
	}
	counted := 0
	for _, table := range c.tables {
		for _, source := range table.sources {
			counted += source.size()
		}
	}
	if counted != c.size {
		t.Errorf("the sources take %d bytes, and %d are counted", counted, c.size)
	}
}

// TestIdleSourcesGo has a new source in each minute.
func TestIdleSourcesGo(t *testing.T) {
	c := counter(t, Options{}, rule())
	for n := range 100 {
		e := from(fmt.Sprintf("203.0.113.%d", n))
		e.Rule = "login"
		c.Add(start+policy.Deadline(n)*minute, e)
	}
	if n := c.Stats(start).Rules[0].Sources; n > 12 {
		t.Errorf("%d sources are counted", n)
	}
}

func TestReporterLabelsAreBounded(t *testing.T) {
	c := counter(t, Options{}, rule())
	for n := range 10_000 {
		e := from("198.51.100.9")
		e.Rule, e.Reporter = "login", fmt.Sprint("r", n)
		c.Add(start+policy.Deadline(n)*minute, e)
	}
	most := maxReporters*len(Results()) + len(Results())
	if got := c.Stats(start).Tallies; len(got) > most || got[0].Reporter != OtherReporter {
		t.Errorf("%d counts, at most %d wanted; the first is %+v", len(got), most, got[0])
	}
}

func TestForgiveAndNearest(t *testing.T) {
	c := counter(t, Options{}, rule())
	step{now: "0s", event: Event{Points: 2}, want: "counted 2"}.run(t, c, 0)
	step{now: "0s", event: from("198.51.100.8"), want: "counted 1"}.run(t, c, 0)
	near := c.Nearest("login", 10, start)
	if len(near) != 2 || near[0].Points != 2 || near[1].Points != 1 {
		t.Errorf("nearest: %+v", near)
	}
	if near := c.Nearest("login", 1, start+2*minute); len(near) != 0 {
		t.Errorf("nearest after the window: %+v", near)
	}
	got := c.Forgive(netip.MustParseAddr("198.51.100.9"), start)
	if len(got) != 1 || got[0].Points != 2 {
		t.Errorf("forgiven: %+v", got)
	}
	step{now: "1s", want: "counted 1"}.run(t, c, 1)
}

// A ban that the breaker turned into a shadow does not count against its source, and widens
// nothing.
func TestTrippedCountsAgainstNobody(t *testing.T) {
	o := Options{Ladder: ladder.New(1000, 1)}
	c := counter(t, o, rule(func(r *Rule) {
		r.Limit, r.Widen = 0, ladder.Widen{Sources: 2, IPv4: 24}
		r.Escalate = ladder.Escalate{Factor: 2, Max: time.Hour, Forget: time.Hour}
	}))
	for n, s := range []step{
		{now: "0s", event: from("198.51.100.1"), want: "banned new block 198.51.100.1/32 10m"},
		{now: "0s", event: from("198.51.100.2"), want: "banned new shadow 198.51.100.2/32 10m"},
		{now: "0s", event: from("198.51.100.3"), want: "banned new shadow 198.51.100.3/32 10m"},
		{now: "20m", event: from("198.51.100.2"), want: "banned new block 198.51.100.2/32 10m"},
	} {
		s.run(t, c, n)
	}
}

// A network with an exempt address is not widened, and neither is that of an address that counts by
// itself.
func TestExemptIsNotWidened(t *testing.T) {
	o := Options{Exempt: func(p netip.Prefix) Result {
		if p.Contains(netip.MustParseAddr("2001:db8::1")) || p.Contains(netip.MustParseAddr("198.51.100.1")) {
			return OwnAddress
		}
		return ""
	}}
	c := counter(t, o, rule(func(r *Rule) { r.Limit, r.Widen = 0, ladder.Widen{Sources: 2, IPv4: 24, IPv6: 56} }))
	for n := 2; n < 6; n++ {
		for _, source := range []string{fmt.Sprintf("198.51.100.%d/32", n), fmt.Sprintf("2001:db8::%d/128", n)} {
			address, _, _ := strings.Cut(source, "/")
			step{now: "0s", event: from(address), want: "banned new block " + source + " 10m"}.run(t, c, n)
		}
	}
	if n := len(c.byName["login"].inside); n != 1 { // that of IPv4
		t.Errorf("offenders are counted inside %d networks", n)
	}
}

// Entries that were removed leave nothing behind.
func TestRemovedEntriesLeaveNothing(t *testing.T) {
	c := counter(t, Options{}, rule(func(r *Rule) { r.Limit = 0 }))
	for n := range 10_000 {
		e := from(fmt.Sprintf("203.0.%d.%d", n>>8, n&255))
		e.Rule = "login"
		c.Remove("login", c.Add(start, e).Source)
	}
	if len(c.entries.byKey) != 0 || len(c.entries.ends) > 2000 {
		t.Errorf("%d entries, %d ends", len(c.entries.byKey), len(c.entries.ends))
	}
}
