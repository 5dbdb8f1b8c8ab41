package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/paraxial/paraxial/control"
)

func TestRules(t *testing.T) {
	want := outcome{0, lines(
		"RULE   LIMIT  WINDOW  PER      DISTINCT  ACTION      FOR",
		"login  5      10m     /32,/64  -         block       10m",
		"scan   0      1m      /0,/0    path      limit 20/s  1h",
		"",
		"RULE   LIVE  COUNTED  BANNED  HELD  REFUSED  SOURCES  EVICTED  INEFFECTIVE",
		"login  2     1,200    2       0     7        7        0        1",
		"scan   0     0        0       0     0        0        0        0",
		"",
		"entries  2; rules and detectors together may have 10,000",
		"memory   2 KiB of 65536 KiB",
		"breaker  closed, has never opened",
	), ""}
	if diff := cmp.Diff(want, invoke(t.Context(), serve(t, &fake{}), "", "rules")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestOneRule(t *testing.T) {
	socket := serve(t, &fake{})
	got := invoke(t.Context(), socket, "", "rules", "login")
	want := lines(
		"RESULT   EVENTS",
		"banned   2",
		"bogon    3",
		"counted  1,200",
		"old      4",
		"",
		"SOURCE           POINTS  LIMIT  LAST EVENT",
		"198.51.100.9/32  4       5      1m ago",
	)
	if !strings.HasSuffix(got.Stdout, want) || got.Code != 0 {
		t.Errorf("got\n%s%s\nwant at the end\n%s", got.Stdout, got.Stderr, want)
	}
	if got := invoke(t.Context(), socket, "", "rules", "other"); got.Code != 1 ||
		!strings.Contains(got.Stderr, `no rule "other"`) {
		t.Errorf("an unknown rule: %+v", got)
	}
}

func TestForgive(t *testing.T) {
	f := &fake{forgiven: control.ForgiveResult{
		Address:  "203.0.113.99",
		Counts:   []control.RuleSource{{Rule: "login", Source: "203.0.113.99/32", Points: 4, Limit: 5, Last: noon}},
		Offences: []control.PastOffence{{Origin: "rule:login", Prefix: "203.0.113.99/32", Offences: 2}},
		Removed:  []control.Entry{caught}, StillBlocked: []control.Entry{byHand},
	}}
	want := outcome{0, lines(
		"forgot 4 points of 203.0.113.99/32 by rule login",
		"forgot 2 offences of 203.0.113.99/32 by rule:login",
		"unblocked 203.0.113.99/32 (origin detector:syn-flood)",
		"",
		"These entries still cover it:",
		"  block 192.0.2.1/32 (origin cli), expires in 59m30s: paraxialctl unblock 192.0.2.1/32 --origin cli",
	), ""}
	socket := serve(t, f)
	if diff := cmp.Diff(want, invoke(t.Context(), socket, "", "forgive", "203.0.113.99", "--unblock")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	asked := control.Forgiveness{Address: netip.MustParseAddr("203.0.113.99"), Unblock: true}
	if diff := cmp.Diff([]any{asked}, f.asked, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	clean := serve(t, &fake{forgiven: control.ForgiveResult{Address: "::1"}})
	if got := invoke(t.Context(), clean, "", "forgive", "::1"); got.Stdout != "Nothing was held against ::1.\n" {
		t.Errorf("got %+v", got)
	}
	if got := invoke(t.Context(), socket, "", "forgive", "192.0.2.0/24"); got.Code != 2 {
		t.Errorf("a prefix: %+v", got)
	}
}
