package daemon

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/events"
	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/metrics"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/report"
)

// ruled returns a bench whose daemon has a rule: three points in a minute, and the action given.
func ruled(t *testing.T, action events.Action) *bench {
	t.Helper()
	b := newBench(t, 1000)
	b.Daemon.metrics = metrics.New(b.Daemon, metrics.Build{})
	b.rules(loginRule(action))
	return b
}

func loginRule(action events.Action) events.Rule {
	r := events.Default()
	r.Name, r.Limit, r.Window, r.Action = "login", 3, time.Minute, action
	return r
}

// rules puts rules in force.
func (b *bench) rules(list ...events.Rule) {
	b.Helper()
	cfg := b.settings()
	cfg.Rules, cfg.Detection = list, config.Default().Detection
	if err := events.CheckAll(list); err != nil {
		b.Fatal(err)
	}
	b.cfg.Store(&cfg)
	b.restartRules()
}

// rate has a reporter tell of a source, and carries out what follows.
func (b *bench) rate(e report.Event) report.Verdict {
	b.Helper()
	if e.Rule == "" {
		e.Rule = "login"
	}
	v, err := b.ruling.Rate(b.Context(), "shop", e)
	if err != nil {
		b.Fatal(err)
	}
	b.ruling.judge(b.Context())
	return v
}

func event(address string) report.Event { return report.Event{Address: netip.MustParseAddr(address)} }

// entry returns the entry of the rule for an address.
func (b *bench) entry(prefix string) (e policy.Entry, ok bool) {
	b.engine.Read(func(book *policy.Book) {
		e, ok = book.Get(policy.Key{
			Kind: policy.Block, Prefix: netip.MustParsePrefix(prefix), Origin: "rule:login",
		})
	})
	return e, ok
}

// The event that exceeds the limit has the verdict of the ban, and the entry has the events as
// evidence.
func TestRuleBans(t *testing.T) {
	for action, want := range map[events.Action]string{events.Block: "drop", events.Shadow: "shadow"} {
		b := ruled(t, action)
		e := event("198.51.100.7")
		e.Time, e.Text, e.Where = time.Now().Add(-10*time.Second), "failed\x1b[2J", "auth.log:17"
		for n := range 3 {
			if v := b.rate(e); v.Verdict != "pass" || v.Points != n+1 || v.Limit != 3 {
				t.Errorf("event %d: %+v", n, v)
			}
		}
		v := b.rate(e)
		if v.Verdict != want || v.Origin != "rule:login" || v.Points != 4 {
			t.Errorf("the event above the limit: %+v", v)
		}
		left := time.Until(v.Until)
		if left < 9*time.Minute || left > 10*time.Minute-8*time.Second {
			t.Errorf("the ban lasts for another %s, want ten minutes from the event", left)
		}
		if v := b.rate(e); v.Verdict != want || v.Origin != "rule:login" {
			t.Errorf("the next event: %+v", v)
		}
		got, ok := b.entry("198.51.100.7/32")
		if !ok || got.Action != decidedAction(action) || got.Author != "rule" ||
			got.Reason != "4 points in 1m, limit 3; told by shop" {
			t.Fatalf("entry %+v", got)
		}
		seen := got.Evidence.Rule.Seen
		if got.Evidence.Count != 4 || len(seen) != 4 || seen[0].Text != `failed\x1b[2J` ||
			seen[0].Where != "auth.log:17" {
			t.Errorf("evidence %+v", got.Evidence)
		}
		if c := b.copies(); c.book != 1 || c.stored != 1 || c.kernel != 1 {
			t.Errorf("copies %+v, want one of each", c)
		}
	}
}

func TestEventsAreRefused(t *testing.T) {
	b := ruled(t, events.Block)
	cfg := b.settings()
	cfg.Proxies = []config.Proxy{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}
	cfg.Guard.NeverBlock = prefixes("203.0.113.5")
	b.cfg.Store(&cfg)
	b.enforcer.read = time.Time{} // it is as old as guardAge
	b.restartRules()
	b.allow("198.51.100.8")
	old, unknown := event("198.51.100.9"), event("198.51.100.9")
	old.Time, unknown.Rule = time.Now().Add(-time.Hour), "scan"
	list := []report.Event{event("198.51.100.9"), event("127.0.0.1"), event("192.0.2.1"), event("203.0.113.5"),
		event("198.51.100.8"), old, unknown}
	for n := range list {
		if list[n].Rule == "" {
			list[n].Rule = "login"
		}
	}
	refused, err := b.ruling.Events(b.Context(), "shop", list)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for n, r := range refused {
		got = append(got, r.Code)
		if r.Line != n+2 || r.Message == "" {
			t.Errorf("refusal %+v of line %d", r, n+2)
		}
	}
	if want := "bogon proxy own_address allowed old unknown_rule"; strings.Join(got, " ") != want {
		t.Errorf("refused: %v, want %s", got, want)
	}
	b.ruling.Note("shop", "login", "budget")
	b.ruling.Note("shop", "no\nname", "forbidden")
	counted := map[string]uint64{}
	for _, tally := range b.ruling.stats().Tallies {
		if strings.Contains(tally.Rule, "\n") {
			t.Errorf("a reporter has chosen the label %q", tally.Rule)
		}
		counted[string(tally.Result)] += tally.Events
	}
	for _, result := range append(got, "counted", "budget", "forbidden") {
		if counted[result] != 1 {
			t.Errorf("%s: %d events, want 1", result, counted[result])
		}
	}
}

// Without a disk a ban is in force all the same, and Rate does not wait for it.
func TestRuleWithoutDisk(t *testing.T) {
	b := ruled(t, events.Block)
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		b.rate(event("198.51.100.7"))
	}
	if e, ok := b.entry("198.51.100.7/32"); !ok || !strings.HasPrefix(e.Reason, volatileMark) {
		t.Errorf("entry %+v", e)
	}
}

// While the disk hangs, Rate answers. The change holds the turn of the engine, as a transaction
// that waits for the disk does.
func TestRateDoesNotWaitForTheDisk(t *testing.T) {
	b := ruled(t, events.Block)
	hangs, hung := make(chan struct{}), make(chan struct{})
	go func() {
		_ = b.engine.Edit(context.Background(), func(*policy.Book) ([]policy.Op, error) {
			close(hung)
			<-hangs
			return nil, nil
		})
	}()
	<-hung
	done := make(chan struct{})
	go func() { defer close(done); b.ruling.run(b.Context()) }()
	e := event("198.51.100.7")
	e.Rule = "login"
	for n := range 10_000 {
		v, err := b.ruling.Rate(t.Context(), "shop", e)
		if want := n >= 3; err != nil || n == 3 && (v.Verdict == "drop") != want {
			t.Fatalf("event %d: %+v, %v", n, v, err)
		}
	}
	close(hangs)
}

// mostWaiting decisions may wait. Further sources are counted anew.
func TestDecisionsThatWaitAreBounded(t *testing.T) {
	b := ruled(t, events.Block)
	r := loginRule(events.Block)
	r.Limit = 0
	b.rules(r)
	b.ruling.mu.Lock()
	b.ruling.waiting = make([]events.Decision, mostWaiting)
	b.ruling.mu.Unlock()
	e := event("198.51.100.7")
	e.Rule = "login"
	for range 3 {
		if v, err := b.ruling.Rate(t.Context(), "shop", e); err != nil || v.Verdict != "pass" {
			t.Errorf("%+v, %v", v, err)
		}
	}
	if n := len(b.ruling.waiting); n != mostWaiting {
		t.Errorf("%d decisions wait", n)
	}
	b.ruling.waiting = nil
	if v := b.rate(e); v.Verdict != "drop" {
		t.Errorf("with room again: %+v", v)
	}
}

// Entries of rules stay in force over a restart, an unblock ends them for good, and the source is
// counted anew.
func TestRuleEntriesAreAdoptedAndRemoved(t *testing.T) {
	b := ruled(t, events.Block)
	for range 4 {
		b.rate(event("198.51.100.7"))
	}
	b.Daemon.ruling = newRuling(b.Daemon, b.Daemon.log)
	b.restartRules()
	if n := b.ruling.stats().Rules[0].Entries; n != 1 {
		t.Errorf("%d entries after a restart, want 1", n)
	}
	removal := control.Removal{Prefixes: prefixes("198.51.100.7"), Origin: "rule:login"}
	if _, err := b.Unblock(t.Context(), control.Caller{}, removal); err != nil {
		t.Fatal(err)
	}
	if v := b.rate(event("198.51.100.7")); v.Verdict != "pass" || v.Points != 1 {
		t.Errorf("after unblock: %+v", v)
	}
}

// A shadow entry of a rule can be promoted, and stays a drop when its source exceeds the limit
// again.
func TestRulePromotion(t *testing.T) {
	b := ruled(t, events.Shadow)
	for range 4 {
		b.rate(event("198.51.100.7"))
	}
	promotion := control.Promotion{Prefixes: prefixes("198.51.100.7"), Origin: "rule:login", Force: true}
	if _, err := b.Promote(t.Context(), control.Caller{UID: 7}, promotion); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		if v := b.rate(event("198.51.100.7")); v.Verdict != "drop" {
			t.Errorf("%+v", v)
		}
	}
	if e, _ := b.entry("198.51.100.7/32"); e.Action != policy.Drop || e.Author != "uid:7" {
		t.Errorf("entry %+v", e)
	}
}

// A reload keeps the counts of a rule, and the decisions that wait, unless the rule is gone.
func TestReloadOfRules(t *testing.T) {
	b := ruled(t, events.Block)
	e := event("198.51.100.7")
	e.Rule = "login"
	rate := func(n int) (v report.Verdict) {
		t.Helper()
		for range n {
			var err error
			if v, err = b.ruling.Rate(t.Context(), "shop", e); err != nil {
				t.Fatal(err)
			}
		}
		return v
	}
	rate(2)
	b.restartRules()
	if v := rate(1); v.Points != 3 {
		t.Errorf("after a reload: %+v", v)
	}
	rate(1) // its decision waits
	b.restartRules()
	if v := rate(1); v.Points != 4 { // held, with the points of the ban
		t.Errorf("after a reload with a decision that waits: %+v", v)
	}
	b.rules()
	b.ruling.judge(t.Context())
	if c := b.copies(); c.book != 0 {
		t.Errorf("copies %+v: a rule that is gone has banned", c)
	}
	b.rules(loginRule(events.Block))
	rate(4)
	b.restartRules()
	b.ruling.judge(t.Context())
	if _, ok := b.entry("198.51.100.7/32"); !ok {
		t.Error("a decision was lost by a reload")
	}
}

// A source that becomes exempt between the count and the ban is left alone.
func TestExemptIsCheckedAgain(t *testing.T) {
	b := ruled(t, events.Block)
	e := event("198.51.100.7")
	e.Rule = "login"
	for range 4 {
		if _, err := b.ruling.Rate(t.Context(), "shop", e); err != nil {
			t.Fatal(err)
		}
	}
	b.allow("198.51.100.7")
	b.ruling.judge(t.Context())
	if e, ok := b.entry("198.51.100.7/32"); ok {
		t.Errorf("entry %+v", e)
	}
}

// An alert makes no entry, and tells those who watch.
func TestRuleAlerts(t *testing.T) {
	b := ruled(t, events.Alert)
	got := make(chan control.Event, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go b.broadcast.Watch(ctx, func(e control.Event) error { got <- e; return nil })
	for !b.broadcast.Watched() {
		time.Sleep(time.Millisecond)
	}
	for range 4 {
		b.rate(event("198.51.100.7"))
	}
	var e control.Event
	select {
	case e = <-got:
	case <-time.After(time.Minute):
		t.Fatal("no alert")
	}
	if e.Type != control.EventAlert || e.Alert.Source != "198.51.100.7/32" || e.Alert.Evidence.Count != 4 {
		t.Errorf("event %+v", e)
	}
	if c := b.copies(); c.book != 0 {
		t.Errorf("copies %+v, want no entry", c)
	}
}

// A ban whose source goes on, and which drops nothing, is told once.
func TestFutileBan(t *testing.T) {
	b := ruled(t, events.Block)
	for range 4 {
		b.rate(event("198.51.100.7"))
	}
	going := []events.Going{
		{Rule: "login", Prefix: netip.MustParsePrefix("198.51.100.7/32"), Events: 3},
		{Rule: "login", Prefix: netip.MustParsePrefix("198.51.100.8/32"), Events: 3}, // has ended
	}
	now := time.Now()
	for range 3 {
		b.ruling.findFutile(going, now)
	}
	if got := b.ruling.stats().Futile["login"]; got != 1 {
		t.Errorf("told %d times, want once", got)
	}
	if !b.ruling.isFutile("198.51.100.7/32", "rule:login") || b.ruling.isFutile("198.51.100.7/32", "cli") {
		t.Error("it is not known as without effect")
	}
	b.ruling.findFutile(going, now.Add(futileEvery))
	if got := b.ruling.stats().Futile["login"]; got != 2 {
		t.Errorf("told %d times after an hour, want twice", got)
	}
	b.ruling.findFutile(nil, now)
	if b.ruling.isFutile("198.51.100.7/32", "rule:login") {
		t.Error("it stays without effect when its source has stopped")
	}
}

func BenchmarkRate(b *testing.B) {
	d := newDaemonOver(b, &fakeKernel{nodes: map[string]policy.Verdict{}}, filepath.Join(b.TempDir(), StoreFile), 1000)
	r := loginRule(events.Block)
	r.Limit = 1000
	cfg := config.Config{Rules: []events.Rule{r}}
	d.ruling.ready(cfg)
	d.ruling.configure(cfg, d.engine.Now(), ladder.New(1000, 0))
	e := event("198.51.100.7")
	e.Rule, e.Text = "login", "failed"
	for n := 0; b.Loop(); n++ {
		e.Address = netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)})
		if _, err := d.ruling.Rate(b.Context(), "shop", e); err != nil {
			b.Fatal(err)
		}
	}
}
