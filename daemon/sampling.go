package daemon

import (
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
		d.complains.Log(d.log, "detection: counters", err)
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

// report logs sources that were left alone, and lack of room.
func (d *detection) report() {
	for _, s := range d.analyzer.Spared() {
		if s.Reason == guardUnknown {
			continue // it applies to all sources, and was logged
		}
		d.journal.Spared(s.Detector, s.Prefix, s.Reason, s.Evidence.String())
	}
	stats := d.analyzer.Stats()
	d.reportNoRoom(stats)
}

// reportNoRoom logs that there was no room for entries. It is silent while the breaker is
// open, which was logged: then only shadow entries are left out.
func (d *detection) reportNoRoom(stats detect.Stats) {
	var noRoom uint64
	for _, s := range stats.Detectors {
		noRoom += s.NoRoom
	}
	if noRoom > d.noRoom && !stats.Breaker.Open && d.complains.Due("no room") {
		d.log.Error("detectors: max_bans entries are live, and none can make room for a new one; "+
			"raise detection.max_bans",
			"max_bans", d.cfg.Detection.MaxBans, "sources", noRoom-d.noRoom)
	}
	d.noRoom = noRoom
}

// sampleOf is a sample in the words of the detectors.
func sampleOf(s loader.Sample) detect.Sample {
	return detect.Sample{
		Source: s.Source, Length: s.Length, Weight: s.Weight,
		Detectors: detect.DetectorSet(s.Detectors), Port: s.DestPort,
	}
}
