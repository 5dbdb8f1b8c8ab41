package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/guard"
	"github.com/paraxial/paraxial/policy"
)

// Import implements control.Backend.
func (d *Daemon) Import(
	ctx context.Context, c control.Caller, r control.Import, list io.Reader, progress func(control.ImportProgress),
) (control.ImportResult, error) {
	deadline := policy.After(d.engine.Now(), r.For)
	wanted, err := d.readList(c, list, progress)
	if err != nil {
		return control.ImportResult{}, err
	}
	result := control.ImportResult{Notes: wanted.Notes()}
	for _, l := range wanted.Invalid {
		result.Invalid = append(result.Invalid, control.InvalidLine{Line: l.Number, Message: l.Err.Error()})
	}
	if len(result.Invalid) > 0 && !r.SkipInvalid {
		return control.ImportResult{Invalid: result.Invalid}, nil
	}
	if err := d.guardList(ctx, c, wanted, r.Force, &result); err != nil {
		return control.ImportResult{}, err
	}
	set := engine.Set{List: wanted, Entry: policy.Entry{
		Kind: policy.Block, Action: policy.Drop, Origin: r.Origin, Reason: r.Reason,
		Author: c.Author(), Created: time.Now().UTC().Truncate(time.Second), Deadline: deadline,
	}}
	replaced, err := d.engine.Replace(asCaller(ctx, c), set, func(applied, total int) {
		progress(control.ImportProgress{Read: total, Applied: applied, Total: total})
	})
	if err != nil {
		return control.ImportResult{}, changeError(fmt.Errorf("import %s: %w", r.Origin, err))
	}
	result.Added, result.Removed, result.Unchanged = replaced.Added, replaced.Removed, replaced.Unchanged
	if replaced.Shortened > 0 {
		result.Notes = append(result.Notes, fmt.Sprintf(
			"%d entries of %s end earlier than before, because the list replaces them", replaced.Shortened, r.Origin))
	}
	d.broadcast.Send(control.Event{Type: control.EventImported, Import: &control.ImportSummary{
		Origin: r.Origin, Added: result.Added, Removed: result.Removed, Unchanged: result.Unchanged,
		Refused: len(result.Refused),
	}})
	return result, nil
}

// readList reads a list. A list of a user other than root is not longer than the user's
// share of the entries.
func (d *Daemon) readList(
	c control.Caller, list io.Reader, progress func(control.ImportProgress),
) (*engine.List, error) {
	const families = 2
	most := families * d.settings().MaxEntries
	if c.UID != 0 {
		most = min(most, d.engine.Room().Share)
	}
	wanted, err := engine.ReadList(list, most, func(read int) { progress(control.ImportProgress{Read: read}) })
	if errors.Is(err, engine.ErrFull) && c.UID != 0 {
		return nil, control.Errorf(control.CodeTooLarge, "nothing was changed: the list has more than %d different "+
			"prefixes, the most that one user may have (half of max_entries): shorten it, import it as root, or "+
			"raise max_entries and restart paraxiald", most)
	}
	if err != nil {
		return nil, changeError(err)
	}
	return wanted, nil
}

// guardList removes the prefixes that the guard refuses from the list, unless force keeps
// them, and spares the open sessions inside the others. It adds both to the result.
func (d *Daemon) guardList(
	ctx context.Context, c control.Caller, l *engine.List, force bool, result *control.ImportResult,
) error {
	current, err := d.guard.GuardFor(ctx, guardCaller(c))
	if err != nil && !force {
		return control.Errorf(control.CodeRefused, "%v; add --force to import without this check", err)
	}
	var sessions []netip.Addr
	forced := make(map[netip.Prefix]bool)
	l.Filter(func(p netip.Prefix, number int) (keep, override bool) {
		refusal, inside := current.Check(p), current.Sessions(p)
		if force {
			if override = refusal != nil || len(inside) > 0; override {
				forced[p] = true
			}
			return true, override
		}
		if refusal != nil {
			result.Refused = append(result.Refused, control.RefusedLine{
				Prefix: p.String(), Line: number, Message: refusal.Error(),
			})
			return false, false
		}
		if len(inside) > 0 {
			sessions = append(sessions, inside...)
			result.Spared = append(result.Spared, sparedLine(p, number, inside))
		}
		return true, false
	})
	slices.SortFunc(result.Refused, func(x, y control.RefusedLine) int { return cmp.Compare(x.Line, y.Line) })
	slices.SortFunc(result.Spared, func(x, y control.SparedLine) int { return cmp.Compare(x.Line, y.Line) })
	return d.spareSessions(ctx, guard.Changes{Forced: forced, Spare: guard.Spares(sessions, d.engine.Now())})
}

func sparedLine(p netip.Prefix, number int, inside []netip.Addr) control.SparedLine {
	line := control.SparedLine{Prefix: p.String(), Line: number}
	for _, a := range inside {
		line.Addresses = append(line.Addresses, a.String())
	}
	return line
}

// spareSessions makes the changes that go with a list, before the list is in force.
func (d *Daemon) spareSessions(ctx context.Context, g guard.Changes) error {
	if len(g.Spare) == 0 && len(g.Forced) == 0 {
		return nil
	}
	err := d.engine.Edit(ctx, func(b *policy.Book) ([]policy.Op, error) { return g.Ops(b), nil })
	if err != nil {
		return changeError(err)
	}
	d.broadcast.Announce(control.EventAdded, d.wire.Entries(g.Spare))
	return nil
}
