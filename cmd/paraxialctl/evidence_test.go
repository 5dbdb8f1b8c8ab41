package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/control"
)

// TestWhyEvidence: why shows all evidence of a detector.
func TestWhyEvidence(t *testing.T) {
	f := &fake{why: control.WhyResult{Verdict: "drop", Reason: "block", CheckedBy: "kernel",
		Matched: []control.Entry{caught, widened}}}
	want := outcome{0, lines(
		"203.0.113.99 is DROPPED.",
		"The packet filter itself was asked; it counts such packets as block.",
		"",
		"2 entries match it:",
		"",
		"  block 203.0.113.99/32",
		"    origin    detector:syn-flood",
		"    reason    412/s, limit 200/s over 5s",
		"    detector  syn-flood",
		"    measured  412/s; limit 200/s over 5s, reached with 2,060 packets",
		"    seen      2026-11-23 11:59:52 UTC to 2026-11-23 12:00:00 UTC",
		"    ports     443, 80, sampled",
		"    offence   number 2 on record",
		"    author    detector:syn-flood",
		"    created   2026-11-23 12:00:00 UTC, 0s ago",
		"    expires   in 10m, at 2026-11-23 12:10:00 UTC",
		"    drops     0 packets",
		"",
		"  block 203.0.113.0/24 (shadow)",
		"    origin    detector:bulk",
		"    detector  bulk",
		"    measured  23Mbit/s; limit 10Mbit/s over 5s, reached with 14,375,000 bytes",
		"    seen      2026-11-23 12:00:00 UTC to 2026-11-23 12:00:00 UTC",
		"    sources   12 offenders inside this prefix",
		"    offence   the first on record",
		"    author    detector:bulk",
		"    created   2026-11-23 12:00:00 UTC, 0s ago",
		"    expires   never",
		"    drops     0 packets",
		"",
		"What you can do:",
		"  paraxialctl unblock 203.0.113.99/32 --origin detector:syn-flood",
		"  paraxialctl unblock 203.0.113.0/24 --origin detector:bulk",
		"  paraxialctl unblock PREFIX --all    # the entries of every origin",
		"  paraxialctl allow 203.0.113.99    # whatever blocks it",
	), ""}
	if diff := cmp.Diff(want, invoke(t.Context(), serve(t, f), "", "why", "203.0.113.99")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestWhyRule: why shows the events that a rule has counted, with texts that forge no line.
func TestWhyRule(t *testing.T) {
	e := caught
	e.Origin, e.Reason, e.Author = "rule:login", "6 points in 10m, limit 5", "rule"
	e.Evidence = &control.Evidence{
		Rule: "login", Reporter: "shop", PointLimit: 5, Window: "10m", Count: 6, Offence: 1,
		First: caught.Evidence.First, Last: caught.Evidence.Last,
		Events: []control.Seen{
			{Time: caught.Evidence.First, Points: 5, User: `ro"ot`, Path: "/users/log_in", Where: "auth.log:17"},
			{Time: caught.Evidence.Last, Points: 1, Text: "a\x1b[2Jb"},
		},
	}
	f := &fake{why: control.WhyResult{Verdict: "drop", Reason: "block", CheckedBy: "kernel",
		Matched: []control.Entry{e}}}
	got := invoke(t.Context(), serve(t, f), "", "why", "203.0.113.99").Stdout
	want := lines(
		"    rule     login, told by shop",
		"    counted  6 points in 10m; limit 5",
		"    seen     2026-11-23 11:59:52 UTC to 2026-11-23 12:00:00 UTC",
		"    offence  the first on record",
		`    event    2026-11-23 11:59:52 UTC, auth.log:17, 5 points, user "ro\"ot", path "/users/log_in"`,
		`    event    2026-11-23 12:00:00 UTC, "a\x1b[2Jb"`,
	)
	if !strings.Contains(got, want) {
		t.Errorf("why says\n%s\nwant\n%s", got, want)
	}
}
