// Package metrics exports the daemon's state to Prometheus. Every scrape asks the
// Source for a Snapshot. Only the histograms and the counter of decisions are kept
// here.
package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Source provides the state. Snapshot is called once per scrape. Several scrapes
// may run at a time. It must be cheap: the source keeps totals and walks nothing.
type Source interface {
	Snapshot() Snapshot
}

// Snapshot is the daemon's state at one moment.
type Snapshot struct {
	Interfaces []Interface
	Entries    []Entries
	Maps       []Map
	Detection  Detection
	Feeds      []Feed
	Reporters  []Reporter
	Rules      []Rule
	RuleEvents []RuleEvents
	Logs       []Log

	Warnings        int  // what status warns of
	GuardIncomplete bool // facts for the guard could not be read

	SaveFailures uint64             // attempts to save a change that failed
	SaveFailing  bool               // the last attempt failed
	Allowed      map[string]float64 // by family: the share of its address space that wide allows let pass
}

// Detection is the state of rate analysis; the zero value if there is none.
type Detection struct {
	Enabled  bool
	Tracked  int    // sources with exact counters
	Lost     uint64 // samples lost because the ring was full
	NoRoom   uint64 // sources above a limit for which there was no room
	Exceeded bool   // packets arrive too fast for reliable detection
	Tripped  bool   // the circuit breaker is open
}

// Interface is one network interface and its packets so far.
type Interface struct {
	Name      string
	Mode      string // "native" or "generic", empty when off
	Protected bool   // the kernel confirmed the filter, and it is ours
	Counters  []Counter
}

// Counter counts packets of one reason.
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

// Build identifies the program.
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
	tick   prometheus.Histogram
	decide *prometheus.CounterVec
	descs  descs
	feeds  feedDescs
	rules  ruleDescs
	logs   logDescs
}

type descs struct {
	packets, bytes, entries, protected, mapEntries, mapCapacity *prometheus.Desc
	warnings, guardIncomplete, saveFailures, saveFailing, off   *prometheus.Desc
	tracked, lost, exceeded, tripped, noRoom                    *prometheus.Desc
}

// New returns a collector of src.
func New(src Source, build Build) *Collector {
	info := prometheus.NewDesc("paraxial_build_info", "Always 1. The labels are the running version.",
		[]string{"version", "revision", "goversion"}, nil)
	return &Collector{
		source: src,
		build: prometheus.MustNewConstMetric(info, prometheus.GaugeValue, 1,
			label(build.Version), label(build.Revision), label(build.GoVersion)),
		apply: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "paraxial_apply_seconds",
			Help:    "Time from the request for a change until the kernel enforces it.",
			Buckets: applyBuckets,
		}),
		tick: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "paraxial_detector_analysis_seconds",
			Help:    "Duration of one detection tick, which reads all counters. There are four a second.",
			Buckets: applyBuckets[:12],
		}),
		decide: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "paraxial_detector_decisions_total",
			Help: "Sources that a detector acted upon, by action.",
		}, []string{"detector", "action"}),
		descs: newDescs(),
		feeds: newFeedDescs(),
		rules: newRuleDescs(),
		logs:  newLogDescs(),
	}
}

// newDescs returns the descriptions of the metrics that are read from the source.
func newDescs() descs {
	return descs{
		warnings: prometheus.NewDesc("paraxial_warnings", "Warnings that paraxialctl status shows.", nil, nil),
		guardIncomplete: prometheus.NewDesc("paraxial_guard_incomplete",
			"1 while the guard cannot read all protected addresses, so that detectors take no decisions, otherwise 0.",
			nil, nil),
		saveFailures: prometheus.NewDesc("paraxial_save_failures_total",
			"Attempts to save a change of the entries that failed.", nil, nil),
		saveFailing: prometheus.NewDesc("paraxial_save_failing",
			"1 while the state cannot be saved, otherwise 0.", nil, nil),
		off: prometheus.NewDesc("paraxial_filtering_off_ratio",
			"Share of the address space, from 0 to 1, for which wide allows turn filtering off.",
			[]string{"family"}, nil),
		tracked: prometheus.NewDesc("paraxial_detector_tracked_sources", "Sources with exact counters now.", nil, nil),
		lost: prometheus.NewDesc("paraxial_detector_samples_lost_total",
			"Packet samples lost because the daemon did not read them in time.", nil, nil),
		exceeded: prometheus.NewDesc("paraxial_detector_sampling_exceeded",
			"1 while packets arrive too fast for reliable detection, otherwise 0.", nil, nil),
		noRoom: prometheus.NewDesc("paraxial_detector_no_room_total",
			"Sources above a limit for which there was no room for an entry.", nil, nil),
		tripped: prometheus.NewDesc("paraxial_detector_breaker_open",
			"1 while the circuit breaker turns all decisions into shadows, otherwise 0.", nil, nil),
		packets: prometheus.NewDesc("paraxial_packets_total", "Received packets, by verdict and reason.",
			[]string{"interface", "verdict", "reason"}, nil),
		bytes: prometheus.NewDesc("paraxial_bytes_total", "Bytes of received packets, by verdict and reason.",
			[]string{"interface", "verdict", "reason"}, nil),
		entries: prometheus.NewDesc("paraxial_entries",
			"Entries in force, by origin. Origins beyond the largest ones are summed as other.",
			[]string{"kind", "family", "origin"}, nil),
		protected: prometheus.NewDesc("paraxial_interface_protected",
			"1 if the kernel confirms that the filter is in force on the interface, otherwise 0.",
			[]string{"interface", "mode"}, nil),
		mapEntries: prometheus.NewDesc("paraxial_map_entries", "Elements in a kernel map.",
			[]string{"map"}, nil),
		mapCapacity: prometheus.NewDesc("paraxial_map_capacity", "Capacity of a kernel map in elements.",
			[]string{"map"}, nil),
	}
}

// ObserveApply records the time d until a change was in force.
func (c *Collector) ObserveApply(d time.Duration) {
	c.apply.Observe(d.Seconds())
}

// ObserveTick records the duration d of a detection tick.
func (c *Collector) ObserveTick(d time.Duration) {
	c.tick.Observe(d.Seconds())
}

// CountDecision counts a source that a detector acts upon.
func (c *Collector) CountDecision(detector, action string) {
	c.decide.WithLabelValues(label(detector), label(action)).Inc()
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.build.Desc()
	c.apply.Describe(ch)
	c.tick.Describe(ch)
	c.decide.Describe(ch)
	for _, d := range []*prometheus.Desc{
		c.descs.packets, c.descs.bytes, c.descs.entries, c.descs.protected, c.descs.mapEntries, c.descs.mapCapacity,
		c.descs.warnings, c.descs.guardIncomplete, c.descs.tracked, c.descs.lost, c.descs.exceeded, c.descs.tripped,
		c.descs.noRoom, c.descs.saveFailures, c.descs.saveFailing, c.descs.off,
	} {
		ch <- d
	}
	for _, d := range slices.Concat(c.feeds.all(), c.rules.all(), c.logs.all()) {
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
	ch <- gauge(c.descs.warnings, float64(s.Warnings))
	ch <- gauge(c.descs.guardIncomplete, truth(s.GuardIncomplete))
	ch <- counter(c.descs.saveFailures, s.SaveFailures)
	ch <- gauge(c.descs.saveFailing, truth(s.SaveFailing))
	for family, share := range s.Allowed {
		ch <- gauge(c.descs.off, share, family)
	}
	c.feeds.collect(ch, s)
	c.rules.collect(ch, s)
	if s.Detection.Enabled || len(s.Rules) > 0 { // they share it
		ch <- gauge(c.descs.tripped, truth(s.Detection.Tripped))
	}
	c.logs.collect(ch, s)
	if s.Detection.Enabled {
		c.collectDetection(ch, s.Detection)
	}
}

func (c *Collector) collectDetection(ch chan<- prometheus.Metric, d Detection) {
	c.tick.Collect(ch)
	c.decide.Collect(ch)
	ch <- gauge(c.descs.tracked, float64(d.Tracked))
	ch <- counter(c.descs.lost, d.Lost)
	ch <- gauge(c.descs.exceeded, truth(d.Exceeded))
	ch <- counter(c.descs.noRoom, d.NoRoom)
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func (c *Collector) collectInterface(ch chan<- prometheus.Metric, i Interface) {
	name := label(i.Name)
	ch <- gauge(c.descs.protected, truth(i.Protected), name, label(i.Mode))
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
