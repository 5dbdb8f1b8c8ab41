// Package metrics shows the daemon's state to Prometheus. It keeps nothing but
// one histogram: every scrape asks the Source for a Snapshot.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Source gives what is shown. Snapshot is called once a scrape, by several
// scrapes at a time, and must be cheap: totals are kept, nothing is walked.
type Source interface {
	Snapshot() Snapshot
}

// Snapshot is the daemon's state at one moment.
type Snapshot struct {
	Interfaces []Interface
	Entries    []Entries
	Maps       []Map
}

// Interface is one network interface and its packets so far.
type Interface struct {
	Name      string
	Mode      string // "native" or "generic", empty when off
	Protected bool   // the filter was read back from the kernel, and is ours
	Counters  []Counter
}

// Counter is what happened to packets for one reason.
type Counter struct {
	Verdict string // "pass" or "drop"
	Reason  string // of the C enum, in snake case
	Packets uint64
	Bytes   uint64
}

// Entries is the number of entries of one kind, family and origin.
type Entries struct {
	Kind   string // "block" or "allow"
	Family string // "ipv4" or "ipv6"
	Origin string
	Count  int
}

// Map is the fill of one kernel map, in elements.
type Map struct {
	Name     string
	Entries  int
	Capacity int
}

// Build says which program this is.
type Build struct {
	Version   string
	Revision  string // of the source
	GoVersion string
}

// applyBuckets are upper bounds in seconds: a single block takes well under a
// millisecond, the import of a large list seconds.
var applyBuckets = []float64{
	100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 2.5, 5, 10,
}

// Collector is a prometheus.Collector of all metrics of the daemon.
type Collector struct {
	source Source
	build  prometheus.Metric
	apply  prometheus.Histogram
	descs  descs
}

type descs struct {
	packets, bytes, entries, protected, mapEntries, mapCapacity *prometheus.Desc
}

// New returns a collector of src.
func New(src Source, build Build) *Collector {
	info := prometheus.NewDesc("paraxial_build_info", "Always 1; the labels say which version runs.",
		[]string{"version", "revision", "goversion"}, nil)
	return &Collector{
		source: src,
		build: prometheus.MustNewConstMetric(info, prometheus.GaugeValue, 1,
			label(build.Version), label(build.Revision), label(build.GoVersion)),
		apply: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "paraxial_apply_seconds",
			Help:    "Time from a change being asked for to its being in force in the kernel.",
			Buckets: applyBuckets,
		}),
		descs: descs{
			packets: prometheus.NewDesc("paraxial_packets_total", "Packets received, by what became of them and why.",
				[]string{"interface", "verdict", "reason"}, nil),
			bytes: prometheus.NewDesc("paraxial_bytes_total", "Bytes of the packets received, by what became of them and why.",
				[]string{"interface", "verdict", "reason"}, nil),
			entries: prometheus.NewDesc("paraxial_entries", "Entries in force, by origin; beyond the largest origins the rest is summed as other.",
				[]string{"kind", "family", "origin"}, nil),
			protected: prometheus.NewDesc("paraxial_interface_protected", "1 if the filter was seen at work on the interface, otherwise 0.",
				[]string{"interface", "mode"}, nil),
			mapEntries: prometheus.NewDesc("paraxial_map_entries", "Elements in a kernel map.",
				[]string{"map"}, nil),
			mapCapacity: prometheus.NewDesc("paraxial_map_capacity", "Elements that fit in a kernel map.",
				[]string{"map"}, nil),
		},
	}
}

// ObserveApply records that a change took d to be in force.
func (c *Collector) ObserveApply(d time.Duration) {
	c.apply.Observe(d.Seconds())
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.build.Desc()
	c.apply.Describe(ch)
	for _, d := range []*prometheus.Desc{
		c.descs.packets, c.descs.bytes, c.descs.entries, c.descs.protected, c.descs.mapEntries, c.descs.mapCapacity,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	ch <- c.build
	c.apply.Collect(ch)
	s := c.source.Snapshot()
	for _, i := range s.Interfaces {
		c.collectInterface(ch, i)
	}
	for _, e := range capOrigins(s.Entries) {
		ch <- gauge(c.descs.entries, float64(e.Count), e.Kind, e.Family, e.Origin)
	}
	for _, m := range s.Maps {
		ch <- gauge(c.descs.mapEntries, float64(m.Entries), label(m.Name))
		ch <- gauge(c.descs.mapCapacity, float64(m.Capacity), label(m.Name))
	}
}

func (c *Collector) collectInterface(ch chan<- prometheus.Metric, i Interface) {
	name := label(i.Name)
	protected := 0.0
	if i.Protected {
		protected = 1
	}
	ch <- gauge(c.descs.protected, protected, name, label(i.Mode))
	for _, n := range i.Counters {
		verdict, reason := label(n.Verdict), label(n.Reason)
		ch <- counter(c.descs.packets, n.Packets, name, verdict, reason)
		ch <- counter(c.descs.bytes, n.Bytes, name, verdict, reason)
	}
}

func gauge(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(d *prometheus.Desc, v uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}
