package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/paraxial/paraxial/control"
)

const (
	sweepInterval      = time.Second      // between expiries, and between credits for drop events
	checkpointInterval = 30 * time.Second // the most boot time that a power cut can lose
)

// housekeep runs periodic work until ctx is done. The work waits for other changes and for
// the disk.
func (d *Daemon) housekeep(ctx context.Context) {
	sweep := time.NewTicker(sweepInterval)
	checkpoint := time.NewTicker(checkpointInterval)
	defer sweep.Stop()
	defer checkpoint.Stop()
	for {
		d.sweeping.Beat()
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
			d.grantEvents()
			d.sweep(ctx)
			d.expireTags()
			d.replies.follow()
		case <-checkpoint.C:
			d.disk.Set(d.checkpoint(ctx))
			if d.guard.Problem() != "" {
				d.recheckGuard(ctx) // the facts may be readable by now
			}
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
		d.broadcast.Announce(control.EventExpired, d.wire.Entries(expired))
	}
}

// checkpoint saves repeat offenders, volatile bans and how much time has passed. It
// corrects deadlines of earlier boots once the wall clock is known to be right. It logs
// and returns what fails.
func (d *Daemon) checkpoint(ctx context.Context) error {
	var errs []error
	fail := func(what string, err error) {
		if err != nil {
			d.log.Error(what, "error", err)
			errs = append(errs, err)
		}
	}
	fail("repeat offenders cannot be saved; a restart would forget them", d.saveOffenders())
	fail("volatile bans of detectors and rules still cannot be saved", d.enforcer.saveVolatile(ctx))
	corrected, err := d.engine.Checkpoint(ctx)
	fail("checkpoint failed", err)
	if corrected {
		d.log.Info("wall clock is synchronised: deadlines corrected for the time the machine was off")
	}
	return errors.Join(errs...)
}
