package daemon

import (
	"context"
	"time"

	"github.com/paraxial/paraxial/control"
)

const (
	sweepInterval      = time.Second      // between expiries, and between credits for drop events
	checkpointInterval = 30 * time.Second // the most boot time that a power cut can lose
)

// housekeep runs periodic work until ctx is done, and reports to the service manager
// that all loops make progress.
func (d *Daemon) housekeep(ctx context.Context, s *service) {
	sweep := time.NewTicker(sweepInterval)
	report := time.NewTicker(s.every())
	checkpoint := time.NewTicker(checkpointInterval)
	defer sweep.Stop()
	defer report.Stop()
	defer checkpoint.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
			d.grantEvents()
			d.sweep(ctx)
		case <-report.C:
			d.report(s)
		case <-checkpoint.C:
			d.checkpoint(ctx)
		}
	}
}

// sweep removes expired entries in steps, between which other changes run. It stops
// after half of sweepInterval; the next sweep continues.
func (d *Daemon) sweep(ctx context.Context) {
	for start := time.Now(); ctx.Err() == nil && time.Since(start) < sweepInterval/2; {
		expired, err := d.engine.Expire(ctx)
		if err != nil {
			if d.sweepProblem != err.Error() { // sweep runs every second
				d.log.Error("expired entries cannot be removed and are tried again; the kernel does not enforce them",
					"error", err)
			}
			d.sweepProblem = err.Error()
			return
		}
		d.sweepProblem = ""
		if len(expired) == 0 {
			return
		}
		d.log.Debug("entries expired", "count", len(expired))
		d.broadcast.announce(control.EventExpired, d.wireEntries(expired))
	}
}

// checkpoint saves repeat offenders, volatile bans and how much time has passed. It
// corrects deadlines of earlier boots once the wall clock is known to be right.
func (d *Daemon) checkpoint(ctx context.Context) {
	if err := d.saveOffenders(); err != nil {
		d.log.Error("repeat offenders cannot be saved; a restart would forget them", "error", err)
	}
	if err := d.enforcer.saveVolatile(ctx); err != nil {
		d.log.Error("volatile bans of detectors still cannot be saved", "error", err)
	}
	corrected, err := d.engine.Checkpoint(ctx)
	if err != nil {
		d.log.Error("checkpoint failed", "error", err)
		return
	}
	if corrected {
		d.log.Info("wall clock is synchronised: deadlines corrected for the time the machine was off")
	}
}

// report sends the state of the daemon to the service manager, and a ping if all loops
// make progress.
func (d *Daemon) report(s *service) {
	s.status(d.summary())
	detecting, attending := d.detecting.silence(), d.attending.silence()
	if !s.alive(max(detecting, attending)) {
		d.log.Error("the daemon hangs: it sends no more pings, so that the service manager restarts it",
			"detectors", detecting.Round(time.Second), "interfaces", attending.Round(time.Second))
	}
}

// summary returns the text for systemctl status.
func (d *Daemon) summary() string {
	blocks, allows := d.count()
	return summaryOf(d.nics.status(), blocks, allows)
}
