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

// report logs changes of the circuit breaker, sources that were left alone, and lack of room.
func (d *detection) report() {
	for _, s := range d.analyzer.Spared() {
		d.journal.spared(s)
	}
	stats := d.analyzer.Stats()
	d.reportNoRoom(stats)
	open := stats.Breaker.Open
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

// reportNoRoom logs that there was no room for entries. It is silent while the breaker is
// open, which was logged: then only shadow entries are left out.
func (d *detection) reportNoRoom(stats detect.Stats) {
	var noRoom uint64
	for _, s := range stats.Detectors {
		noRoom += s.NoRoom
	}
	if noRoom > d.noRoom && !stats.Breaker.Open && d.complains.due("no room") {
		d.log.Error("detectors: max_bans entries are live, and none can make room for a new one; raise detection.max_bans",
			"max_bans", d.cfg.Detection.MaxBans, "sources", noRoom-d.noRoom)
	}
	d.noRoom = noRoom
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
	if c.due(what) {
		log.Error("detection: "+what, "error", err)
	}
}

// due reports whether it is time to log something again, and notes that it is logged.
func (c *complaints) due(what string) bool {
	if time.Since(c.last[what]) < complainEvery {
		return false
	}
	if c.last == nil {
		c.last = make(map[string]time.Time)
	}
	c.last[what] = time.Now()
	return true
}
