package daemon

import (
	"context"
	"time"

	"github.com/paraxial/paraxial/control"
)

const (
	sweepInterval      = time.Second      // expiry and the credit for drop events
	checkpointInterval = 30 * time.Second // what is lost of a TTL by a power cut
)

// housekeep does what is due from time to time, until ctx is done, and tells the
// service manager that all loops get on.
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

// sweep removes what has expired, in steps between which others get their turn.
// What it does not get done is for the next one.
func (d *Daemon) sweep(ctx context.Context) {
	for start := time.Now(); ctx.Err() == nil && time.Since(start) < sweepInterval/2; {
		expired, err := d.engine.Expire(ctx)
		if err != nil {
			if d.sweepProblem != err.Error() { // it is tried every second
				d.log.Error("expired entries could not be removed; the kernel does not enforce them, and they are tried again", "error", err)
			}
			d.sweepProblem = err.Error()
			return
		}
		d.sweepProblem = ""
		if len(expired) == 0 {
			return
		}
		d.log.Debug("entries expired", "count", len(expired))
		d.announce(control.EventExpired, d.wireEntries(expired))
	}
}

// checkpoint keeps on disk how much time has passed, and corrects deadlines of
// an earlier boot once the wall clock is known to be right.
func (d *Daemon) checkpoint(ctx context.Context) {
	if err := d.saveOffenders(); err != nil {
		d.log.Error("repeat offenders would be forgotten by a restart", "error", err)
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
