package daemon

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/events"
	"github.com/paraxial/paraxial/policy"
)

// mostNearest is the number of sources nearest to a limit in an answer.
const mostNearest = 20

// Rules implements control.Backend.
func (d *Daemon) Rules(_ context.Context, name string) (control.RulesStatus, error) {
	cfg := d.settings()
	stats := d.ruling.stats()
	s := control.RulesStatus{
		MaxEntries: cfg.Detection.MaxBans, Memory: stats.Memory, MaxMemory: events.DefaultMemory,
		Breaker: breakerStatus(d.ladder.Load().Breaker(), d.engine.Clock),
	}
	for _, r := range cfg.Rules {
		n := slices.IndexFunc(stats.Rules, func(o events.RuleStats) bool { return o.Rule == r.Name })
		if n < 0 {
			continue // a reload is under way
		}
		s.Entries += stats.Rules[n].Entries
		if name == "" || name == r.Name {
			s.Rules = append(s.Rules, d.ruleStatus(r, stats.Rules[n], stats.Tallies, name != ""))
		}
	}
	if name != "" && len(s.Rules) == 0 {
		return s, control.Errorf(control.CodeNotFound, "the configuration has no rule %q", name)
	}
	return s, nil
}

func (d *Daemon) ruleStatus(
	r events.Rule, stats events.RuleStats, tallies []events.Tally, nearest bool,
) control.RuleStatus {
	s := control.RuleStatus{
		Name: r.Name, Limit: r.Limit, Window: policy.FormatTTL(r.Window), IPv4Prefix: r.Per.IPv4,
		IPv6Prefix: r.Per.IPv6, Distinct: string(r.Distinct), Success: string(r.Success), Action: string(r.Action),
		For: policy.FormatTTL(r.For), Events: make(map[string]uint64), Sources: stats.Sources, Entries: stats.Entries,
		Evicted: stats.Evicted, Ineffective: d.ruling.futileOf(r.Name),
	}
	if r.Action == events.Limit {
		s.Rate = r.Rate.String()
	}
	for _, t := range tallies {
		if t.Rule == r.Name {
			s.Events[string(t.Result)] += t.Events
		}
	}
	if nearest {
		s.Nearest = d.ruleSources(d.ruling.nearest(r.Name, mostNearest))
	}
	return s
}

func (r *ruling) nearest(rule string, n int) []events.CountedSource {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counter.Nearest(rule, n, r.engine.Now())
}

func (d *Daemon) ruleSources(list []events.CountedSource) []control.RuleSource {
	out := make([]control.RuleSource, 0, len(list))
	for _, s := range list {
		out = append(out, control.RuleSource{
			Rule: s.Rule, Source: s.Prefix.String(), Points: s.Points, Limit: s.Limit, Last: d.engine.Wall(s.Last),
		})
	}
	return out
}

// Forgive implements control.Backend.
func (d *Daemon) Forgive(ctx context.Context, c control.Caller, r control.Forgiveness) (control.ForgiveResult, error) {
	result := control.ForgiveResult{Address: r.Address.String()}
	address := netip.PrefixFrom(r.Address, r.Address.BitLen())
	if r.Unblock {
		removed, err := d.unblockAutomatic(asCaller(ctx, c), address)
		if err != nil {
			return result, changeError(err)
		}
		result.Removed = removed
	}
	now := d.engine.Now()
	result.Counts = d.ruleSources(d.ruling.forgive(r.Address))
	for _, o := range d.ladder.Load().Forgive(r.Address, now) {
		result.Offences = append(result.Offences, control.PastOffence{
			Origin: o.Origin, Prefix: o.Prefix.String(), Offences: o.Offences,
		})
	}
	if err := d.saveOffenders(); err != nil {
		d.log.Error("what was forgiven cannot be saved; a restart would know it again", "error", err)
	}
	result.StillBlocked = d.stillBlocked(ctx, []netip.Prefix{address})
	d.log.Info("an address was forgiven on request", "address", r.Address, "counts", len(result.Counts),
		"offences", len(result.Offences), "removed", len(result.Removed), "by", c.Author())
	return result, nil
}

func (r *ruling) forgive(a netip.Addr) []events.CountedSource {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.counter.Forgive(a, r.engine.Now())
	slices.SortFunc(list, func(x, y events.CountedSource) int { return cmp.Compare(x.Rule, y.Rule) })
	return list
}

// unblockAutomatic removes the blocks of rules and detectors that cover an address.
func (d *Daemon) unblockAutomatic(ctx context.Context, address netip.Prefix) ([]control.Entry, error) {
	var removed []control.Entry
	err := d.engine.Edit(ctx, func(b *policy.Book) (ops []policy.Op, _ error) {
		var entries []policy.Entry
		for e := range b.Covering(policy.Block, address) {
			_, rule := ruleOf(e.Origin)
			if _, detector := detectorOf(e.Origin); rule || detector {
				entries, ops = append(entries, e), append(ops, policy.RemoveOp(e.Key()))
			}
		}
		removed = d.wire.Entries(entries) // with their drop counts, which are lost afterwards
		return ops, nil
	})
	if err != nil {
		return nil, err
	}
	d.broadcast.Announce(control.EventRemoved, removed)
	d.removed(removed)
	return removed, nil
}
