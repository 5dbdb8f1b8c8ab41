package daemon

import (
	"log/slog"
	"strings"
	"time"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/policy"
)

// adaptEvery is how often sampling follows the rate of packets.
const adaptEvery = policy.Deadline(time.Second)

// sampling is how packets are sampled now.
type sampling struct {
	interval uint32 // one packet in so many
	exceeded bool   // packets come so fast that offenders may be missed
	packets  uint64 // accounted for until at
	at       policy.Deadline
	lost     uint64 // samples until at
}

// adapt chooses the sampling interval by the rate of packets.
func (d *detection) adapt(now policy.Deadline) {
	s := &d.sampling
	// A flood that has just begun overflows the ring of samples: do not wait.
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
			d.log.Warn("packets come faster than the detectors can follow for certain: sources just above a limit may be missed",
				"packets_per_second", int(rate), "sampled_one_in", s.interval)
		}
	}
	s.packets, s.at, s.lost = packets, now, lost
}

// report logs what changed of the circuit breaker, and whom the detectors left alone.
func (d *detection) report() {
	for _, s := range d.analyzer.Spared() {
		d.log.Info("above a limit, and left alone", "detector", s.Detector, "source", s.Prefix, "because", s.Reason, "evidence", s.Evidence.String())
	}
	open := d.analyzer.Stats().Breaker.Open
	if open == d.tripped {
		return
	}
	if d.tripped = open; open {
		d.log.Error("circuit breaker: detectors ban too many sources at once; until it is calm they only shadow",
			"bans_per_minute", d.cfg.Detection.Breaker.BansPerMinute)
	} else {
		d.log.Warn("circuit breaker: calm again, detectors act")
	}
}

// sampleOf is a sample in the words of the detectors.
func sampleOf(s loader.Sample) detect.Sample {
	return detect.Sample{
		Source: s.Source, Length: s.Length, Weight: s.Weight, Detectors: detect.DetectorSet(s.Detectors), Port: s.DestPort,
	}
}

// detectorOf returns the detector that has the origin.
func detectorOf(origin string) (name string, ok bool) {
	return strings.CutPrefix(origin, policy.OriginDetector)
}

// complaints keep what goes wrong at every tick from filling the log.
type complaints struct {
	last map[string]time.Time
}

const complainEvery = time.Minute

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
