package daemon

import (
	"context"
	"net/netip"

	"github.com/paraxial/paraxial/events"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/report"
)

// counter counts the events of reporters by the rules of the configuration. Its methods are
// those of report.Backend.
type counter interface {
	Events(ctx context.Context, reporter string, events []report.Event) ([]report.Refusal, error)
	Rate(ctx context.Context, reporter string, e report.Event) (report.Verdict, error)
	Note(reporter, rule, code string)
}

// Events implements report.Backend.
func (r *reporting) Events(ctx context.Context, reporter string, events []report.Event) ([]report.Refusal, error) {
	return r.counter.Events(ctx, reporter, events)
}

// Rate implements report.Backend.
func (r *reporting) Rate(ctx context.Context, reporter string, e report.Event) (report.Verdict, error) {
	return r.counter.Rate(ctx, reporter, e)
}

// Note implements report.Backend.
func (r *reporting) Note(reporter, rule, code string) { r.counter.Note(reporter, rule, code) }

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

func unknownRule(name string) *report.Error {
	return report.Errorf(string(events.UnknownRule), "the configuration of paraxiald has no rule %.64q", name)
}
