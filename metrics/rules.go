package metrics

import "github.com/prometheus/client_golang/prometheus"

// Rule is a rule over events.
type Rule struct {
	Name        string
	Sources     int    // that are counted
	Entries     int    // live
	Evicted     uint64 // sources that were forgotten to bound the memory
	Ineffective uint64 // bans without effect that were told
}

// RuleEvents is the number of events of a rule, a reporter and a result. The names of rules and
// reporters are those of the configuration.
type RuleEvents struct {
	Rule     string
	Reporter string
	Result   string
	Count    uint64
}

type ruleDescs struct {
	events, sources, entries, evicted, ineffective *prometheus.Desc
}

func newRuleDescs() ruleDescs {
	desc := func(name, help string, by ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, by, nil)
	}
	return ruleDescs{
		events: desc("paraxial_events_total", "Events that reporters told, by what became of them.",
			"rule", "reporter", "result"),
		sources: desc("paraxial_rule_sources", "Sources that a rule counts.", "rule"),
		entries: desc("paraxial_rule_entries", "Live entries of a rule.", "rule"),
		evicted: desc("paraxial_rule_evicted_total",
			"Sources that a rule forgot to bound the memory, although their events still counted.", "rule"),
		ineffective: desc("paraxial_rule_ineffective_total",
			"Bans of a rule whose source went on although nothing was dropped, once an hour.", "rule"),
	}
}

func (d ruleDescs) all() []*prometheus.Desc {
	return []*prometheus.Desc{d.events, d.sources, d.entries, d.evicted, d.ineffective}
}

func (d ruleDescs) collect(ch chan<- prometheus.Metric, s Snapshot) {
	for _, e := range s.RuleEvents {
		ch <- counter(d.events, e.Count, label(e.Rule), label(e.Reporter), label(e.Result))
	}
	for _, r := range s.Rules {
		name := label(r.Name)
		ch <- gauge(d.sources, float64(r.Sources), name)
		ch <- gauge(d.entries, float64(r.Entries), name)
		ch <- counter(d.evicted, r.Evicted, name)
		ch <- counter(d.ineffective, r.Ineffective, name)
	}
}
