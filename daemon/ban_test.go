package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/report"
)

// reporterBench is a bench on which the reporter shop may have two bans in force.
type reporterBench struct {
	*bench
	reporting *reporting
	shop      report.Rights
}

func newReporterBench(t *testing.T) *reporterBench {
	b := newBench(t, 1000)
	cfg := b.settings()
	cfg.Proxies = []config.Proxy{{Prefix: netip.MustParsePrefix("198.51.100.0/24")}}
	cfg.Guard.NeverBlock = prefixes("203.0.113.5")
	shop := config.DefaultReporter()
	shop.Name, shop.User, shop.May = "shop", "4242", []config.Right{config.RightBan, config.RightAsk}
	shop.Ban.Live = 2
	cfg.Reports.Reporters = []config.Reporter{shop}
	b.cfg.Store(&cfg)
	r := newReporting(b.Daemon)
	rights, ok := r.Reporter(4242)
	if !ok {
		t.Fatal("the reporter is not known")
	}
	return &reporterBench{b, r, rights}
}

// ban returns the verdict of a ban for an hour, or the code of its error.
func (b *reporterBench) ban(prefix string) string {
	ban := report.Ban{Prefix: prefixes(prefix)[0], For: time.Hour, Reason: "why"}
	v, err := b.reporting.Ban(b.Context(), b.shop, ban)
	if e, ok := errors.AsType[*report.Error](err); ok {
		return e.Code
	} else if err != nil {
		return err.Error()
	}
	return fmt.Sprint(v.Verdict, " ", v.Origin, " ", time.Until(v.Until).Round(time.Minute))
}

// A ban is an entry of the reporter's origin, and leaves alone what nobody may ban by a word.
func TestBansOfReporters(t *testing.T) {
	b := newReporterBench(t)
	b.allow("203.0.113.128/25")
	for _, tt := range []struct{ prefix, want string }{
		{"192.0.2.1", "drop app:shop 1h0m0s"},
		{"2001:db8::/64", "drop app:shop 1h0m0s"},
		{"192.0.2.1", "drop app:shop 1h0m0s"}, // again
		{"192.0.2.2", report.CodeBudget},      // the third in force
		{"198.51.100.7", codeProxy}, {"203.0.113.200", codeAllowed}, {"203.0.113.5", codeOwnAddress},
		{"127.0.0.1", codeBogon}, {"10.0.0.4", codeBogon}, {"224.0.0.1", codeBogon}, {"0.0.0.2", codeBogon},
		{"::1", codeBogon}, {"fe80::/64", codeBogon}, {"100.64.0.1", codeBogon}, {"255.255.255.255", codeBogon},
		{"172.0.0.0/8", codeBogon}, {"2000::/2", codeBogon},
	} {
		if got := b.ban(tt.prefix); got != tt.want {
			t.Errorf("ban of %s: %s, want %s", tt.prefix, got, tt.want)
		}
	}
	if c := b.copies(); c != (copies{book: 3, stored: 3, kernel: 3}) {
		t.Errorf("entries %+v, want the allow and two bans", c)
	}
	var entry policy.Entry
	b.engine.Read(func(book *policy.Book) {
		key := policy.Key{Kind: policy.Block, Prefix: prefixes("192.0.2.1")[0], Origin: "app:shop"}
		entry, _ = book.Get(key)
	})
	if entry.Author != "reporter:shop" || entry.Reason != "why" || entry.Action != policy.Drop || entry.Forced {
		t.Errorf("entry %+v", entry)
	}
	removed, err := b.Unblock(t.Context(), control.Caller{}, control.Removal{
		Prefixes: prefixes("192.0.2.1"), Origin: "app:shop",
	})
	if err != nil || len(removed.Removed) != 1 {
		t.Fatalf("unblock: %+v, %v", removed, err)
	}
	if got := b.ban("192.0.2.2"); !strings.HasPrefix(got, "drop") {
		t.Errorf("ban with room for one: %s", got)
	}
}

// The rights of a reporter follow the configuration at once.
func TestRightsFollowTheConfiguration(t *testing.T) {
	b := newReporterBench(t)
	if !b.shop.MayBan || !b.shop.MayAsk || b.shop.MayReport("login") || b.shop.Proof != nil || b.shop.Bans.Live != 2 {
		t.Errorf("rights %+v", b.shop)
	}
	cfg := b.settings()
	sshd := cfg.Reports.Reporters[0]
	sshd.May, sshd.Rules = []config.Right{config.RightEvent}, []string{"sshd"}
	sshd.Proof, sshd.Ports = config.ProofConnection, []uint16{22}
	cfg.Reports.Reporters = []config.Reporter{sshd}
	b.cfg.Store(&cfg)
	r, ok := b.reporting.Reporter(4242)
	if !ok || r.MayBan || !r.MayReport("sshd") || r.MayReport("login") || r.Proof == nil || r.Proof.Rule != "sshd" {
		t.Errorf("rights %+v", r)
	}
	if _, ok := b.reporting.Reporter(4243); ok {
		t.Error("a stranger has rights")
	}
}

// A verdict names the entry that decides, and of several the one that ends last.
func TestVerdicts(t *testing.T) {
	b := newReporterBench(t)
	b.allow("192.0.2.5")
	block := func(action policy.Action, ttl time.Duration, origin, prefix string) {
		t.Helper()
		r := control.Block{Prefixes: prefixes(prefix), Action: action, For: ttl, Origin: origin}
		if action == policy.Limit {
			r.Rate = policy.Rate{PerSecond: 5, Unit: policy.Packets}
		}
		if _, err := b.Block(t.Context(), control.Caller{}, r); err != nil {
			t.Fatal(err)
		}
	}
	block(policy.Drop, time.Hour, "short", "192.0.2.0/29")
	block(policy.Drop, 3*time.Hour, "long", "192.0.2.0/28")
	block(policy.Shadow, policy.TTLForever, "counts", "192.0.2.0/26")
	block(policy.Limit, 5*time.Hour, "slows", "192.0.2.0/27")
	for addr, want := range map[string]string{
		"192.0.2.1": "drop long 3h0m0s", "192.0.2.5": "pass cli 0s", "192.0.2.9": "drop long 3h0m0s",
		"192.0.2.20": "limit slows 5h0m0s", "192.0.2.40": "shadow counts 0s", "192.0.2.90": "pass  0s",
	} {
		v := b.reporting.Verdict(netip.MustParseAddr(addr))
		var left time.Duration
		if !v.Until.IsZero() {
			left = time.Until(v.Until).Round(time.Minute)
		}
		if got := fmt.Sprint(v.Verdict, " ", v.Origin, " ", left); got != want || v.Address.String() != addr {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
