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
	if result.Refused, err = d.guardList(ctx, wanted, r.Force); err != nil {
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
	d.broadcast.send(control.Event{Type: control.EventImported, Import: &control.ImportSummary{
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

// guardList removes the prefixes that the guard refuses from the list, unless
// force keeps them.
func (d *Daemon) guardList(ctx context.Context, l *engine.List, force bool) ([]control.RefusedLine, error) {
	guard, err := d.facts.guard(ctx)
	if err != nil && !force {
		return nil, control.Errorf(control.CodeRefused, "%v; add --force to import without this check", err)
	}
	var refused []control.RefusedLine
	l.Filter(func(p netip.Prefix, number int) (keep, forced bool) {
		refusal := guard.Check(p)
		if refusal != nil && !force {
			refused = append(refused, control.RefusedLine{Prefix: p.String(), Line: number, Message: refusal.Error()})
		}
		return refusal == nil || force, refusal != nil && force
	})
	slices.SortFunc(refused, func(x, y control.RefusedLine) int { return cmp.Compare(x.Line, y.Line) })
	return refused, nil
}
