package daemon

import (
	"context"
	"net/netip"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/report"
)

// Events implements report.Backend.
func (r *reporting) Events(ctx context.Context, reporter string, events []report.Event) ([]report.Refusal, error) {
	return r.ruling.Events(ctx, reporter, events)
}

// Rate implements report.Backend.
func (r *reporting) Rate(ctx context.Context, reporter string, e report.Event) (report.Verdict, error) {
	return r.ruling.Rate(ctx, reporter, e)
}

// Note implements report.Backend.
func (r *reporting) Note(reporter, rule, code string) { r.ruling.Note(reporter, rule, code) }

// Verdict implements report.Backend.
func (r *reporting) Verdict(a netip.Addr) report.Verdict {
	entries, outcome := r.model(a)
	v := report.Verdict{
		Address: a, Verdict: outcome.Verdict(), Tags: r.tagsOf(netip.PrefixFrom(a, a.BitLen())),
	}
	if e, ok := deciding(entries, outcome); ok {
		v.Origin = e.Origin
		if e.Deadline != policy.Forever {
			v.Until = r.engine.Wall(e.Deadline)
		}
	}
	return v
}

// deciding returns the entry that leads to an outcome. Of several it is the one that ends last.
func deciding(entries []policy.Entry, o policy.Outcome) (last policy.Entry, ok bool) {
	for _, e := range entries {
		if leadsTo(e, o) && (!ok || e.Deadline > last.Deadline) {
			last, ok = e, true
		}
	}
	return last, ok
}

// leadsTo reports whether an entry by itself has an outcome.
func leadsTo(e policy.Entry, o policy.Outcome) bool {
	switch o {
	case policy.Allowed:
		return e.Kind == policy.Allow
	case policy.Blocked:
		return e.Kind == policy.Block && e.Action == policy.Drop
	case policy.Limited:
		return e.Kind == policy.Block && e.Action == policy.Limit
	case policy.Shadowed:
		return e.Kind == policy.Block && e.Action == policy.Shadow
	}
	return false
}
