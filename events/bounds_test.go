package events

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

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
