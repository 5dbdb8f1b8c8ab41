package daemon

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// Detectors implements control.Backend.
func (d *Daemon) Detectors(context.Context) (control.DetectorsStatus, error) {
	return d.detection.status(d.engine.Clock), nil
}

// Top implements control.Backend.
func (d *Daemon) Top(context.Context) (control.TopResult, error) {
	top, _ := d.detection.sources(d.engine.Clock, func(netip.Prefix) bool { return true })
	now := d.engine.Now()
	d.engine.Read(func(b *policy.Book) {
		for i := range top.Sources {
			top.Sources[i].Verdict = sourceVerdict(b, top.Sources[i].Source, now)
		}
	})
	for i, s := range top.Sources {
		if p, err := netip.ParsePrefix(s.Source); err == nil {
			top.Sources[i].Tags = d.tagsOf(p)
		}
	}
	return top, nil
}

// sourceVerdict returns the verdict on a tracked source by the entries that cover it.
func sourceVerdict(b *policy.Book, source string, now policy.Deadline) string {
	p, err := netip.ParsePrefix(source)
	if err != nil {
		return ""
	}
	var entries []policy.Entry
	for _, kind := range []policy.Kind{policy.Allow, policy.Block} {
		for e := range b.Covering(kind, p) {
			entries = append(entries, e)
		}
	}
	switch outcome := policy.Decide(entries, p.Addr(), now); outcome {
	case policy.Blocked:
		return "drop"
	case policy.Limited:
		return "limit"
	case policy.Shadowed:
		return "shadow"
	}
	return "pass"
}

// status returns the state of rate analysis.
func (d *detection) status(c engine.Clock) control.DetectorsStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.analyzer == nil {
		return control.DetectorsStatus{}
	}
	stats := d.analyzer.Stats()
	s := control.DetectorsStatus{
		Enabled: true, Tracked: stats.Tracked, Capacity: d.accounts.Capacity(), Offenders: stats.Offenders,
		Entries: stats.Entries, MaxEntries: d.cfg.Detection.MaxBans,
		Breaker: breakerStatus(stats.Breaker, c),
		Sampling: control.SamplingStatus{
			Interval: d.sampling.interval, Lost: d.accounts.LostSamples(),
			Exceeded: d.sampling.exceeded, Refused: d.promoter.Refused(),
		},
	}
	for i, detector := range d.cfg.Detectors {
		s.Detectors = append(s.Detectors, detectorStatus(detector, stats.Detectors[i]))
	}
	return s
}

func breakerStatus(b ladder.Breaker, c engine.Clock) control.BreakerStatus {
	s := control.BreakerStatus{Open: b.Open, Trips: b.Trips}
	if b.Since != 0 {
		since := c.Wall(b.Since)
		s.Since = &since
	}
	return s
}

func detectorStatus(d detect.Detector, s detect.DetectorStats) control.DetectorStatus {
	return control.DetectorStatus{
		Name: d.Name, Match: matchText(d.Match), Limit: d.Limit.String(), Window: policy.FormatTTL(d.Window),
		IPv4Prefix: d.Per.IPv4, IPv6Prefix: d.Per.IPv6, Action: string(d.Action), For: policy.FormatTTL(d.For),
		Decisions: map[string]uint64{
			string(detect.Block): s.Blocked, string(detect.Limit): s.Limited, string(detect.Shadow): s.Shadowed,
		},
		Extended: s.Extended, Lifted: s.Lifted, Spared: s.Spared, Entries: s.Entries, NoRoom: s.NoRoom,
	}
}

// matchText describes the packets that a detector counts: "tcp syn port 443".
func matchText(m detect.Match) string {
	words := []string{string(m.Proto)}
	if m.Flags != detect.AnyFlag {
		words = append(words, string(m.Flags))
	}
	if m.Fragment {
		words = append(words, "fragments")
	}
	if len(m.Ports) > 0 {
		words = append(words, "port", strings.Trim(strings.ReplaceAll(fmt.Sprint(m.Ports), " ", ","), "[]"))
	}
	return strings.Join(words, " ")
}

// mostTop bounds the sources in an answer: clients ask every second, and the table may be full.
const mostTop = 1000

// sources returns the tracked sources that are wanted, those nearest to a limit first.
// The caller sets their verdicts. enabled is false if no detectors are configured.
func (d *detection) sources(
	c engine.Clock, wanted func(netip.Prefix) bool,
) (result control.TopResult, enabled bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	result.Time = c.Moment(c.Now())
	if d.analyzer == nil {
		return result, false
	}
	d.analyzer.Presents(func(p detect.Present) {
		if wanted(p.Source) {
			result.Sources = append(result.Sources, d.topSource(p, c))
		}
	})
	slices.SortFunc(result.Sources, func(x, y control.TopSource) int {
		return cmp.Or(cmp.Compare(y.Share, x.Share), cmp.Compare(x.Source, y.Source))
	})
	result.Sources = result.Sources[:min(len(result.Sources), mostTop)]
	return result, true
}

// topSource returns the rates of a tracked source by all detectors that count it.
func (d *detection) topSource(p detect.Present, c engine.Clock) control.TopSource {
	s := control.TopSource{
		Source: p.Source.String(), Since: c.Wall(p.Began),
		Rates: make(map[string]string), Ports: d.promoter.About(p.Source).Ports,
	}
	for i, detector := range d.cfg.Detectors {
		share := p.Shares[i]
		if uint64(share*float64(detector.Limit.PerSecond)) == 0 {
			continue
		}
		rate := policy.Rate{PerSecond: uint64(share * float64(detector.Limit.PerSecond)), Unit: detector.Limit.Unit}
		s.Rates[detector.Name] = rate.String()
		if share > s.Share {
			s.Share, s.Nearest = share, detector.Name
		}
		if rate.Unit == policy.Bytes {
			s.Bytes = max(s.Bytes, float64(rate.PerSecond))
		} else {
			s.Packets = max(s.Packets, float64(rate.PerSecond))
		}
	}
	return s
}
