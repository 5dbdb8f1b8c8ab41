package daemon

import (
	"context"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/guard"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/warnings"
)

// Unallow implements control.Backend. Unless the request is forced, open sessions are spared that
// a block would cut without the allows.
func (d *Daemon) Unallow(ctx context.Context, c control.Caller, r control.Removal) (control.RemoveResult, error) {
	if r.Origin == policy.OriginSession && !r.Force {
		return control.RemoveResult{}, control.Errorf(control.CodeRefused, "refused, nothing was removed: the allows "+
			"of %s spare open sessions inside blocked prefixes, and end with them; --force removes them, and cuts "+
			"the sessions", r.Origin)
	}
	var sessions []netip.Addr
	var notes []string
	if !r.Force {
		sessions, notes = d.openSessions(ctx, c)
	}
	removed, spared, err := d.remove(asCaller(ctx, c), policy.Allow, r, sessions)
	if err != nil {
		return control.RemoveResult{}, err
	}
	notes = append(append(r.Notes, notes...), guard.SpareNotes(spared)...)
	return control.RemoveResult{Removed: removed, Notes: notes}, nil
}

// openSessions returns the addresses of open sessions that a request must not cut, and a note if
// some may be missing.
func (d *Daemon) openSessions(ctx context.Context, c control.Caller) (sessions []netip.Addr, notes []string) {
	sessions, err := d.guard.OpenFor(ctx, guardCaller(c))
	return sessions, mayCut(err)
}

// mayCut returns the note that open sessions may not be known, if err tells why.
func mayCut(err error) []string {
	if err == nil {
		return nil
	}
	return []string{"open sessions inside blocked prefixes may be cut, because the guard is incomplete: " +
		warnings.OneLine(err)}
}

// spareInterval is the time between two checks of the sessions.
const spareInterval = 5 * time.Second

// keepSpared renews the allows of sessions that are open, removes those of other sessions, and spares
// sessions whose allows end soon, until ctx is done. It also reads the guard again after it could not be read.
func (d *Daemon) keepSpared(ctx context.Context) {
	tick := time.NewTicker(spareInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.spareNow(ctx)
		}
	}
}

// spareNow is one check of the sessions.
func (d *Daemon) spareNow(ctx context.Context) {
	if err := d.checkSpared(ctx); err != nil && ctx.Err() == nil {
		d.log.Error("allows that spare open sessions cannot be changed and are tried again", "error", err)
	}
}

func (d *Daemon) checkSpared(ctx context.Context) error {
	var held []policy.Entry
	end := false
	d.engine.Read(func(b *policy.Book) {
		held, end = guard.Spared(b), guard.AllowsEnd(b, d.engine.Now())
	})
	if len(held) == 0 && !end && d.guard.Problem() == "" {
		return nil
	}
	list, unread := d.guard.Open(ctx, held)
	plan := func(b *policy.Book) (ops []policy.Op, ended, spared []policy.Entry) {
		spared = guard.SparesAhead(b, list, d.engine.Now())
		if unread == nil { // it was logged; the allows end if it lasts
			ops, ended = guard.Renewals(b, list, d.engine.Now())
		}
		return append(ops, puts(spared)...), ended, spared
	}
	changes := 0
	d.engine.Read(func(b *policy.Book) {
		ops, _, _ := plan(b)
		changes = len(ops)
	})
	if changes == 0 {
		return nil
	}
	var ended []control.Entry
	var spared []policy.Entry
	err := d.engine.Edit(ctx, func(b *policy.Book) (ops []policy.Op, _ error) {
		var removed []policy.Entry
		ops, removed, spared = plan(b)
		ended = d.wire.Entries(removed)
		return ops, nil
	})
	if err != nil {
		return err
	}
	for _, note := range guard.SpareNotes(spared) {
		d.log.Info("an allow ends: " + note)
	}
	d.broadcast.Announce(control.EventAdded, d.wire.Entries(spared))
	d.broadcast.Announce(control.EventRemoved, ended)
	return nil
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
