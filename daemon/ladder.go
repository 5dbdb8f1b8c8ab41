package daemon

import (
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// startDetection puts the detectors and rules of a configuration in force.
func (d *Daemon) startDetection(cfg config.Config) error {
	now := d.engine.Now()
	shared := ladder.New(cfg.Detection.MaxBans, cfg.Detection.Breaker.BansPerMinute)
	shared.Restore(now, d.knownOffenders(now), escalations(cfg))
	if err := d.detection.configure(cfg, now, liveEntries(d.engine, now), shared); err != nil {
		return err
	}
	d.ruling.configure(cfg, now, shared)
	d.ladder.Store(shared)
	return nil
}

// knownOffenders returns the offenders that the ladder in force remembers. The first time it
// reads them from the file.
func (d *Daemon) knownOffenders(now policy.Deadline) []ladder.Offender {
	if before := d.ladder.Load(); before != nil {
		return before.Offenders(now)
	}
	offenders, err := d.offenders.Load(now, time.Now())
	if err != nil {
		d.log.Warn("the file of repeat offenders has a problem; those that cannot be read are forgotten", "error", err)
	}
	return offenders
}

// escalations returns how bans get longer, by the origin of their entries.
func escalations(cfg config.Config) map[string]ladder.Escalate {
	all := make(map[string]ladder.Escalate)
	for _, detector := range cfg.Detectors {
		all[policy.OriginDetector+detector.Name] = detector.Escalate
	}
	for _, rule := range cfg.Rules {
		all[rule.Origin()] = rule.Escalate
	}
	return all
}

// saveOffenders keeps the memory of offenders for the next run, if it changed.
func (d *Daemon) saveOffenders() error {
	now := d.engine.Now()
	return d.offenders.Save(d.ladder.Load().Offenders(now), now)
}
