package daemon

import (
	"log/slog"
	"strings"
	"time"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/policy"
)

// adaptEvery is the time between two adaptations of sampling to the packet rate.
const adaptEvery = policy.Deadline(time.Second)

// sampling is the state of packet sampling.
type sampling struct {
	interval uint32          // one packet in this many is sampled
	exceeded bool            // the packet rate is so high that offenders may be missed
	packets  uint64          // accounted packets up to at
	at       policy.Deadline // of the last adaptation
	lost     uint64          // lost samples up to at
}

// adapt sets the sampling interval for the present packet rate.
func (d *detection) adapt(now policy.Deadline) {
	s := &d.sampling
	// A flood that has just begun overflows the ring of samples. So if samples were lost,
	// do not wait for adaptEvery.
	lost := d.accounts.LostSamples()
	if now-s.at < adaptEvery && lost == s.lost {
		return
	}
	packets, err := d.host.accounted()
	if err != nil {
		d.complains.about(d.log, "counters", err)
		return
	}
	if s.at != 0 && packets >= s.packets {
		rate := float64(packets-s.packets) / time.Duration(now-s.at).Seconds()
		was := s.exceeded
		s.interval, s.exceeded = d.promoter.Interval(rate)
		d.accounts.SetSampling(s.interval)
		if s.exceeded && !was {
			d.log.Warn("packets arrive faster than the detectors can reliably follow: "+
				"sources just above a limit may be missed",
				"packets_per_second", int(rate), "sampled_one_in", s.interval)
		}
	}
	s.packets, s.at, s.lost = packets, now, lost
}

// report logs changes of the circuit breaker, and sources that the detectors left alone.
func (d *detection) report() {
	for _, s := range d.analyzer.Spared() {
		if s.Reason == guardUnknown {
			continue // it applies to all sources, and was logged
		}
		d.log.Info("source above a limit is left alone",
			"detector", s.Detector, "source", s.Prefix, "because", s.Reason, "evidence", s.Evidence.String())
	}
	open := d.analyzer.Stats().Breaker.Open
	if open == d.tripped {
		return
	}
	if d.tripped = open; open {
		d.log.Error("circuit breaker open: detectors ban too many sources at once; "+
			"until it closes they only add shadow entries",
			"bans_per_minute", d.cfg.Detection.Breaker.BansPerMinute)
	} else {
		d.log.Warn("circuit breaker closed: detectors act again")
	}
}

// sampleOf converts a sample of the packet program into one for the detectors.
func sampleOf(s loader.Sample) detect.Sample {
	return detect.Sample{
		Source: s.Source, Length: s.Length, Weight: s.Weight,
		Detectors: detect.DetectorSet(s.Detectors), Port: s.DestPort,
	}
}

// detectorOf returns the name of the detector that puts entries of an origin. ok is false
// if the origin is not a detector's.
func detectorOf(origin string) (name string, ok bool) {
	return strings.CutPrefix(origin, policy.OriginDetector)
}

// complaints limits how often an error that occurs at every tick is logged.
type complaints struct {
	last map[string]time.Time
}

// complainEvery is the shortest time between two log lines about the same subject.
const complainEvery = time.Minute

// about logs an error, unless the last one about the same subject was logged recently.
func (c *complaints) about(log *slog.Logger, what string, err error) {
	if time.Since(c.last[what]) < complainEvery {
		return
	}
	if c.last == nil {
		c.last = make(map[string]time.Time)
	}
	c.last[what] = time.Now()
	log.Error("detection: "+what, "error", err)
}
