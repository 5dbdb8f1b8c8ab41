package daemon

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/paraxial/paraxial/events"
	"github.com/paraxial/paraxial/metrics"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/report"
)

// Events implements report.Backend, for reporting.
func (r *ruling) Events(ctx context.Context, reporter string, list []report.Event) ([]report.Refusal, error) {
	var refused []report.Refusal
	for n, e := range list {
		if err := ctx.Err(); err != nil {
			return refused, err
		}
		if o := r.add(r.eventOf(reporter, e)); o.Result.Refused() {
			refused = append(refused, report.Refusal{
				Line: n + 1, Code: string(o.Result), Message: refusalText(o.Result, e.Rule),
			})
		}
	}
	return refused, nil
}

// Rate implements report.Backend, for reporting.
func (r *ruling) Rate(_ context.Context, reporter string, e report.Event) (report.Verdict, error) {
	o := r.add(r.eventOf(reporter, e))
	if o.Result == events.UnknownRule || o.Result == events.Invalid {
		return report.Verdict{}, report.Errorf(string(o.Result), "%s", refusalText(o.Result, e.Rule))
	}
	v := report.Verdict{Address: e.Address}
	if o.Result == events.Banned { // the entry may not be in the book yet
		v.Verdict, v.Origin, v.Until = verdictBy(o.Action), policy.OriginRule+e.Rule, r.engine.Wall(o.Until)
		v.Tags = r.tags.Of(o.Source, r.engine.Now())
	} else {
		v = r.reporting.Verdict(e.Address)
	}
	v.Points, v.Limit = o.Points, o.Limit
	return v, nil
}

// verdictBy returns the verdict on the packets of a source that has an entry of a rule.
func verdictBy(a events.Action) string {
	switch a {
	case events.Block:
		return policy.Blocked.Verdict()
	case events.Limit:
		return policy.Limited.Verdict()
	}
	return policy.Shadowed.Verdict()
}

// Note implements report.Backend, for reporting.
func (r *ruling) Note(reporter, rule, code string) {
	result := events.Result(code)
	switch result {
	case events.Forbidden, events.Budget, events.Unproven, events.UnknownRule:
	default:
		result = events.Invalid
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counter.Note(rule, reporter, result)
}

// farthest bounds the distance of the time of an event from now, so that it fits the boot clock.
const farthest = 100 * 365 * 24 * time.Hour

// eventOf returns an event as the rules take it.
func (r *ruling) eventOf(reporter string, e report.Event) events.Event {
	out := events.Event{
		Address: e.Address, Rule: e.Rule, Reporter: reporter, Points: e.Points, Success: e.Success, End: e.End,
		User: e.User, Path: e.Path, Text: e.Text, Where: e.Where,
	}
	if !e.Time.IsZero() {
		ago := min(max(time.Since(e.Time), -farthest), farthest)
		out.At = r.engine.Now() - policy.Deadline(ago)
	}
	return out
}

// refusalText says why an event was not counted, and what to do.
func refusalText(r events.Result, rule string) string {
	switch r {
	case events.UnknownRule:
		return fmt.Sprintf("the configuration of paraxiald has no rule %.64q; paraxialctl rules shows all", rule)
	case events.Invalid:
		return fmt.Sprintf("want an address without a zone, and from 0 to %d points", events.MaxPoints)
	case events.Bogon:
		return "the address is not one of the public Internet, so no rule holds it"
	case events.OwnAddress:
		return "the guard protects the address, or cannot read all addresses that it protects (paraxialctl status)"
	case events.Proxy:
		return "the address is part of a proxy; tell the address of the client behind it"
	case events.Allowed:
		return "an allow covers the address"
	case events.Old:
		return "the event is so old that a ban from its time on would be over"
	}
	return "the event was not counted"
}

// ruleMetrics is the state of the rules for the metrics.
type ruleMetrics struct {
	events.Stats
	Futile map[string]uint64 // bans without effect that were told, by rule
}

// stats returns the state of the rules.
func (r *ruling) stats() ruleMetrics {
	r.mu.Lock()
	defer r.mu.Unlock()
	return ruleMetrics{r.counter.Stats(r.engine.Now()), maps.Clone(r.useless)}
}

// metricsOf returns the state of the rules in the form of the metrics.
func (r *ruling) metricsOf() (rules []metrics.Rule, counts []metrics.RuleEvents) {
	stats := r.stats()
	for _, s := range stats.Rules {
		rules = append(rules, metrics.Rule{
			Name: s.Rule, Sources: s.Sources, Entries: s.Entries, Evicted: s.Evicted,
			Ineffective: stats.Futile[s.Rule],
		})
	}
	for _, t := range stats.Tallies {
		counts = append(counts, metrics.RuleEvents{
			Rule: t.Rule, Reporter: t.Reporter, Result: string(t.Result), Count: t.Events,
		})
	}
	return rules, counts
}
