package daemon

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/metrics"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tags"
)

const offenderPrefix = "198.51.100.7/32"

// decided returns a bench that has an allow, and its enforcer.
func decided(t *testing.T) (*bench, *enforcer) {
	b := newBench(t, 1000)
	b.Daemon.metrics = metrics.New(b.Daemon, metrics.Build{})
	b.allow("203.0.113.7")
	return b, b.enforcer
}

// decision returns a decision about offenderPrefix.
func (b *bench) decision(kind detect.Kind, action detect.Action) detect.Decision {
	now := b.engine.Now()
	return detect.Decision{
		Kind: kind, Detector: "flood", Prefix: netip.MustParsePrefix(offenderPrefix), Action: action,
		Limit: policy.Rate{PerSecond: 200, Unit: policy.Packets}, For: time.Hour, Until: policy.After(now, time.Hour),
		Evidence: detect.Evidence{
			Rate:   policy.Rate{PerSecond: 412, Unit: policy.Packets},
			Limit:  policy.Rate{PerSecond: 200, Unit: policy.Packets},
			Window: 5 * time.Second, Count: 2060, First: now, Last: now, Ports: []uint16{443}, Offence: 1,
		},
	}
}

// decidedEntry returns the entry that a decision put.
func (b *bench) decidedEntry() (policy.Entry, bool) {
	var e policy.Entry
	var ok bool
	b.engine.Read(func(book *policy.Book) {
		e, ok = book.Get(policy.Key{
			Kind: policy.Block, Prefix: netip.MustParsePrefix(offenderPrefix), Origin: "detector:flood",
		})
	})
	return e, ok
}

func TestDecisionsBecomeEntries(t *testing.T) {
	for action, want := range map[detect.Action]policy.Action{
		detect.Block: policy.Drop, detect.Limit: policy.Limit, detect.Shadow: policy.Shadow,
	} {
		t.Run(string(action), func(t *testing.T) {
			b, v := decided(t)
			before := b.copies()
			if failed := v.act(t.Context(), 0, []detect.Decision{b.decision(detect.New, action)}); len(failed) > 0 {
				t.Fatalf("failed: %v", failed)
			}
			e, ok := b.decidedEntry()
			if !ok || e.Action != want || e.Author != "detector" ||
				!strings.HasPrefix(e.Reason, "412/s, limit 200/s over 5s") {
				t.Errorf("entry: %+v", e)
			}
			if (e.Rate.PerSecond == 200) != (want == policy.Limit) {
				t.Errorf("rate: %v", e.Rate)
			}
			if e.Evidence == nil || e.Evidence.Count != 2060 || e.Evidence.Ports[0] != 443 {
				t.Errorf("evidence: %+v", e.Evidence)
			}
			after := b.copies()
			if after.stored != before.stored+1 || after.kernel != before.kernel+1 {
				t.Error("not on disk or not in the kernel")
			}
			v.act(t.Context(), 0, []detect.Decision{b.decision(detect.Lifted, action)})
			if _, ok := b.decidedEntry(); ok {
				t.Error("the entry is still there after it was lifted")
			}
		})
	}
}

// Without a disk, bans are enforced but not saved.
func TestDecisionsWithoutDisk(t *testing.T) {
	b, v := decided(t)
	nodes := len(b.kernel.nodes)
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	if failed := v.act(t.Context(), 0, []detect.Decision{b.decision(detect.New, detect.Block)}); len(failed) > 0 {
		t.Fatalf("failed: %v", failed)
	}
	if e, ok := b.decidedEntry(); !ok || !strings.HasPrefix(e.Reason, "volatile, not saved: ") {
		t.Errorf("entry: %+v", e)
	}
	if len(b.kernel.nodes) != nodes+1 {
		t.Error("the ban is not in the kernel")
	}
}

// Decisions that cannot be carried out are returned, so that they are made again.
func TestDecisionsWithoutKernel(t *testing.T) {
	b, v := decided(t)
	before := b.copies()
	b.kernel.full = true
	if failed := v.act(t.Context(), 0, []detect.Decision{b.decision(detect.New, detect.Block)}); len(failed) != 1 {
		t.Errorf("failed: %v, want the one decision", failed)
	}
	b.kernel.full = false
	if after := b.copies(); after.book != before.book || after.stored != before.stored {
		t.Errorf("copies are %v, want %v as before", after, before)
	}
}

// An entry that an operator has promoted remains a drop when it is extended.
func TestExtendedKeepsPromotion(t *testing.T) {
	b, v := decided(t)
	v.act(t.Context(), 0, []detect.Decision{b.decision(detect.New, detect.Shadow)})
	promotion := control.Promotion{Prefixes: prefixes(offenderPrefix), Origin: "detector:flood", Force: true}
	if _, err := b.Promote(t.Context(), control.Caller{UID: 7}, promotion); err != nil {
		t.Fatal(err)
	}
	longer := b.decision(detect.Extended, detect.Shadow)
	longer.Until = policy.After(b.engine.Now(), 3*time.Hour)
	v.act(t.Context(), 0, []detect.Decision{longer})
	if e, _ := b.decidedEntry(); e.Action != policy.Drop || e.Author != "uid:7" || e.Deadline != longer.Until {
		t.Errorf("entry: %+v", e)
	}
}

// A decision replaces no live entry that is stronger, or as strong and longer.
func TestDecisionKeepsStrongerAndLonger(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second detect.Action
		before, after time.Duration // until the first entry and the second one end
		kept          bool
	}{
		{"shorter", detect.Block, detect.Block, 3 * time.Hour, time.Hour, true},
		{"longer", detect.Block, detect.Block, time.Hour, 3 * time.Hour, false},
		{"limit for drop", detect.Block, detect.Limit, time.Hour, 3 * time.Hour, true},
		{"shadow for drop", detect.Block, detect.Shadow, time.Hour, 3 * time.Hour, true},
		{"shadow for limit", detect.Limit, detect.Shadow, time.Hour, 3 * time.Hour, true},
		{"drop for shadow", detect.Shadow, detect.Block, 3 * time.Hour, time.Hour, false},
		{"the first one has ended", detect.Block, detect.Shadow, -time.Minute, time.Hour, false},
	} {
		for _, kind := range []detect.Kind{detect.New, detect.Extended} {
			b, v := decided(t)
			decide := func(kind detect.Kind, a detect.Action, until time.Duration) detect.Decision {
				d := b.decision(kind, a)
				d.Until = b.engine.Now() + policy.Deadline(until)
				if failed := v.act(t.Context(), 0, []detect.Decision{d}); len(failed) > 0 {
					t.Fatalf("%s: failed: %v", tt.name, failed)
				}
				return d
			}
			first, second := decide(detect.New, tt.first, tt.before), decide(kind, tt.second, tt.after)
			want := second
			if tt.kept {
				want = first
			}
			e, _ := b.decidedEntry()
			if e.Action != decidedAction(want.Action) || e.Deadline != want.Until {
				t.Errorf("%s, %v: %+v, want %+v", tt.name, kind, e, want)
			}
		}
	}
}

// An operator's unblock ends an entry for good, also if a detector decided to extend it at the
// same time. The unblock comes here after the decision and before it is carried out.
func TestExtensionDoesNotUndoUnblock(t *testing.T) {
	b, v := decided(t)
	v.act(t.Context(), 0, []detect.Decision{b.decision(detect.New, detect.Block)})
	inTurn, unblocked, acted := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() { // holds the turn, so that the unblock is carried out before the extension
		_ = b.engine.Edit(t.Context(), func(*policy.Book) ([]policy.Op, error) {
			close(inTurn)
			<-unblocked
			return []policy.Op{policy.RemoveOp(keyOfDecision(b.decision(detect.Extended, detect.Block)))}, nil
		})
	}()
	<-inTurn
	go func() {
		defer close(acted)
		v.act(t.Context(), 0, []detect.Decision{b.decision(detect.Extended, detect.Block)})
	}()
	time.Sleep(50 * time.Millisecond) // for act to come as far as it can
	close(unblocked)
	<-acted
	if e, ok := b.decidedEntry(); ok {
		t.Errorf("the extension put back what was unblocked: %+v", e)
	}
}

// An operator's ban is not lifted to make room.
func TestArmedEntryIsNotLifted(t *testing.T) {
	b, v := decided(t)
	v.act(t.Context(), 0, []detect.Decision{b.decision(detect.New, detect.Shadow)})
	_, err := b.Promote(t.Context(), control.Caller{UID: 7},
		control.Promotion{Prefixes: prefixes(offenderPrefix), Origin: "detector:flood", Force: true})
	if err != nil {
		t.Fatal(err)
	}
	v.act(t.Context(), 0, []detect.Decision{b.decision(detect.Lifted, detect.Shadow)})
	if e, ok := b.decidedEntry(); !ok || e.Action != policy.Drop {
		t.Errorf("entry: %+v", e)
	}
}

func TestExempt(t *testing.T) {
	b, v := decided(t)
	b.cfg.Store(&config.Config{
		Proxies: []config.Proxy{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}},
		Guard:   config.Guard{NeverBlock: []netip.Prefix{netip.MustParsePrefix("198.51.100.64/26")}},
	})
	tagged(t, b, "cdn", true, "198.51.100.200/29")
	tagged(t, b, "aws", false, "198.51.100.0/24")
	for source, want := range map[string]string{
		"198.51.100.201/32": "part of the set cdn of proxies",
		"198.51.100.192/26": "part of the set cdn of proxies",
		"192.0.2.7/32":      "part of proxies (192.0.2.0/24)",
		"192.0.0.0/16":      "part of proxies",
		"203.0.113.7/32":    "allowed by cli",
		"198.51.100.65/32":  "in never_block",
		"127.0.0.1/32":      "an address of lo",
		"198.51.100.7/32":   "",
		"2001:db8::/64":     "",
		"203.0.113.0/24":    "", // the allow inside beats a block
		"198.51.100.128/26": "", // a tag alone has no effect
	} {
		reason, exempt := v.exempt(netip.MustParsePrefix(source))
		if exempt != (want != "") || !strings.Contains(reason, want) {
			t.Errorf("%s: %t, %q; want %q", source, exempt, reason, want)
		}
	}
}

// Sets that proxies names are exempt, those of the file and those of feeds.
func TestProxySets(t *testing.T) {
	b, v := decided(t)
	tagged(t, b, "aws", false, "198.51.100.0/24")
	cfg := config.Config{
		Sets:  []config.Set{{Name: "edge", Prefixes: prefixes("192.0.2.0/28")}},
		Feeds: []config.Feed{{Name: "aws", Use: config.UseTag}},
	}
	for _, named := range [][]config.Proxy{nil, {{Set: "edge"}, {Set: "aws"}}, nil} {
		cfg.Proxies = named
		b.cfg.Store(&cfg)
		b.configureTags(cfg)
		for set, source := range map[string]string{"edge": "192.0.2.3/32", "aws": "198.51.100.7/32"} {
			reason, exempt := v.exempt(netip.MustParsePrefix(source))
			if exempt != (named != nil) || exempt && !strings.Contains(reason, "the set "+set+" of proxies") {
				t.Errorf("proxies %v: %s: %t, %q", named, source, exempt, reason)
			}
		}
	}
}

// tagged gives a daemon a set.
func tagged(t *testing.T, b *bench, name string, proxies bool, list string) {
	t.Helper()
	set := tags.Set{Name: name, Deadline: policy.Forever, Proxies: proxies}
	if err := b.tags.Replace(set, slices.Values(prefixes(list)), b.engine.Clock); err != nil {
		t.Fatal(err)
	}
}

// A prefix is partly exempt if no reason covers all of it.
func TestPartlyExempt(t *testing.T) {
	b, v := decided(t)
	b.cfg.Store(&config.Config{
		Proxies: []config.Proxy{{Prefix: netip.MustParsePrefix("192.0.2.0/25")}},
		Guard:   config.Guard{NeverBlock: []netip.Prefix{netip.MustParsePrefix("198.51.100.64/26")}},
	})
	tagged(t, b, "cdn", true, "198.51.100.200/29")
	for source, want := range map[string]bool{
		"198.51.100.200/30": false,
		"192.0.2.0/24":      true, // a part of it is a proxy
		"192.0.2.0/26":      false,
		"198.51.100.0/24":   true,
		"198.51.100.64/27":  false,
		"203.0.113.7/32":    false, // allowed
		"127.0.0.0/24":      false,
		"169.254.169.0/24":  true,
		"198.51.100.128/25": true, // not exempt at all, which is asked first
	} {
		if got := v.partlyExempt(netip.MustParsePrefix(source)); got != want {
			t.Errorf("%s: %t, want %t", source, got, want)
		}
	}
}

// Live entries of earlier runs are adopted, those of others are not.
func TestLiveEntries(t *testing.T) {
	b, v := decided(t)
	v.act(t.Context(), 0, []detect.Decision{b.decision(detect.New, detect.Limit)})
	live := liveEntries(b.engine, b.engine.Now())
	if len(live) != 1 || live[0].Detector != "flood" || live[0].Prefix.String() != offenderPrefix ||
		live[0].Action != detect.Limit {
		t.Errorf("live: %+v", live)
	}
}
