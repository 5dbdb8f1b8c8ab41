package daemon

import (
	"context"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/guard"
	"github.com/paraxial/paraxial/policy"
)

// spareInterval is the time between two checks of the sessions.
const spareInterval = 5 * time.Second

// keepSpared renews the allows of sessions that are open, and removes those of other sessions,
// until ctx is done. It also reads the guard again after it could not be read.
func (d *Daemon) keepSpared(ctx context.Context) {
	tick := time.NewTicker(spareInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := d.checkSpared(ctx); err != nil && ctx.Err() == nil {
				d.log.Error("allows that spare open sessions cannot be changed and are tried again", "error", err)
			}
		}
	}
}

func (d *Daemon) checkSpared(ctx context.Context) error {
	var held []policy.Entry
	d.engine.Read(func(b *policy.Book) { held = guard.Spared(b) })
	if len(held) == 0 && d.guard.Problem() == "" {
		return nil
	}
	list, err := d.guard.Open(ctx, held)
	if err != nil || len(held) == 0 {
		return nil // the error was logged; the allows end if it lasts
	}
	changes := 0
	d.engine.Read(func(b *policy.Book) {
		ops, _ := guard.Renewals(b, list, d.engine.Now())
		changes = len(ops)
	})
	if changes == 0 {
		return nil
	}
	var ended []control.Entry
	err = d.engine.Edit(ctx, func(b *policy.Book) ([]policy.Op, error) {
		ops, removed := guard.Renewals(b, list, d.engine.Now())
		ended = d.wire.Entries(removed)
		return ops, nil
	})
	if err == nil {
		d.broadcast.Announce(control.EventRemoved, ended)
	}
	return err
}

// recheckGuard warns of blocks that cover protected addresses.
func (d *Daemon) recheckGuard(ctx context.Context) {
	list, _ := d.guard.Recheck(ctx) // the error was logged
	var found []string
	d.engine.Read(func(b *policy.Book) { found = guard.Violations(b, list, d.engine.Now()) })
	for _, w := range d.warnings.Set("blocks", found) {
		d.log.Warn("guard: " + w)
	}
}
