package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Feed is a subscribed list.
type Feed struct {
	Name       string
	Entries    int // in force
	Generation uint64
	Answered   bool          // there was a good answer
	Age        time.Duration // of the last good answer
	Up         bool          // the last good answer is not too old
	Held       bool          // a change waits for an operator
}

// Reporter hands in the sets of feeds.
type Reporter struct {
	Name    string
	Present bool
}

type feedDescs struct {
	entries, age, up, held, generation, reporter *prometheus.Desc
}

func newFeedDescs() feedDescs {
	desc := func(name, help, by string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, []string{by}, nil)
	}
	return feedDescs{
		entries: desc("paraxial_feed_entries", "Entries of a feed in force.", "feed"),
		age: desc("paraxial_feed_age_seconds",
			"Time since the last good answer for a feed. It is missing if there was none.", "feed"),
		up: desc("paraxial_feed_up",
			"1 if the last good answer for a feed is not too old, otherwise 0.", "feed"),
		held: desc("paraxial_feed_held",
			"1 while a change of a feed waits for an operator, otherwise 0.", "feed"),
		generation: desc("paraxial_feed_generation", "Generation of a feed that is in force.", "feed"),
		reporter:   desc("paraxial_reporter_up", "1 if a reporter is there, otherwise 0.", "reporter"),
	}
}

func (d feedDescs) all() []*prometheus.Desc {
	return []*prometheus.Desc{d.entries, d.age, d.up, d.held, d.generation, d.reporter}
}

func (d feedDescs) collect(ch chan<- prometheus.Metric, s Snapshot) {
	for _, f := range s.Feeds {
		name := label(f.Name)
		ch <- gauge(d.entries, float64(f.Entries), name)
		ch <- gauge(d.up, truth(f.Up), name)
		ch <- gauge(d.held, truth(f.Held), name)
		ch <- gauge(d.generation, float64(f.Generation), name)
		if f.Answered {
			ch <- gauge(d.age, f.Age.Seconds(), name)
		}
	}
	for _, r := range s.Reporters {
		ch <- gauge(d.reporter, truth(r.Present), label(r.Name))
	}
}
