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

// listChange replaces the set of an origin by a list.
type listChange struct {
	control.Import
	author    string                                       // of the entries; authors take turns
	guard     func(context.Context) (*policy.Guard, error) // what must not be blocked
	bounds    bounds
	most      int           // prefixes
	longest   time.Duration // the longest lifetime of a line; 0: no bound
	slack     time.Duration // by which the end of an entry may differ and the entry stays as it is
	checkWide bool          // refuse allows that together turn filtering off for much, as one wide allow
	tooLong   error         // the error of a list with more than most prefixes; nil: that of the engine
}

// Import implements control.Backend.
func (d *Daemon) Import(
	ctx context.Context, c control.Caller, r control.Import, list io.Reader, progress func(control.ImportProgress),
) (control.ImportResult, error) {
	result, err := d.replaceSet(ctx, d.importOf(c, r), list, progress)
	switch {
	case errors.Is(err, errDryRun):
		return result, nil
	case errors.Is(err, errHeld):
		return control.ImportResult{}, held(result)
	}
	return result, err
}

// importOf returns the change that a caller asks for. A list of a user other than root is
// not longer than the user's share of the entries.
func (d *Daemon) importOf(c control.Caller, r control.Import) listChange {
	const families = 2
	change := listChange{
		Import: r, author: c.Author(), bounds: bounds{Import: d.settings().Import, section: "import"},
		most:      families * d.settings().MaxEntries,
		guard:     func(ctx context.Context) (*policy.Guard, error) { return d.guard.GuardFor(ctx, guardCaller(c)) },
		checkWide: r.Kind == policy.Allow && !r.Wide && !r.Force,
	}
	if c.UID != 0 {
		change.most = min(change.most, d.engine.Room().Share)
		change.tooLong = control.Errorf(control.CodeTooLarge, "nothing was changed: the list has more than %d "+
			"different prefixes, the most that one user may have (half of max_entries): shorten it, import it as "+
			"root, or raise max_entries and restart paraxiald", change.most)
	}
	return change
}

// replaceSet replaces a set, or changes nothing. The error wraps errHeld if a bound holds the
// list, and errDryRun if nothing else keeps it from being applied; the result says more.
func (d *Daemon) replaceSet(
	ctx context.Context, r listChange, list io.Reader, progress func(control.ImportProgress),
) (control.ImportResult, error) {
	now := d.engine.Now()
	wanted, err := readList(r, list, progress)
	if err != nil {
		return control.ImportResult{}, err
	}
	result := control.ImportResult{Notes: wanted.Notes()}
	for _, l := range wanted.Invalid {
		result.Invalid = append(result.Invalid, control.InvalidLine{Line: l.Number, Message: l.Err.Error()})
	}
	if len(result.Invalid) > 0 && !r.SkipInvalid {
		return control.ImportResult{Invalid: result.Invalid, Notes: result.Notes}, nil
	}
	empty := wanted.Len() == 0
	changes, err := d.guardList(ctx, r, wanted, &result)
	if err != nil {
		return control.ImportResult{}, err
	}
	changes.Spare = append(changes.Spare, d.spareWithoutAllows(ctx, r, wanted, &result)...)
	result.Coverage = control.Coverage{IPv4: wanted.Share(policy.IPv4), IPv6: wanted.Share(policy.IPv6)}
	set := r.setOf(wanted, now)
	set.Check = func(counts engine.Replaced) error {
		countChanges(&result, r.Origin, counts)
		err := r.check(empty, counts, &result)
		if r.checkWide && !errors.Is(err, errHeld) {
			err = cmp.Or(checkWide(wanted.Prefixes(), "--wide"), err)
		}
		if err != nil {
			return err
		}
		return d.spareSessions(ctx, changes)
	}
	if r.Replies {
		defer d.replies.expect()()
	}
	_, err = d.engine.Replace(engine.For(ctx, r.author), set, func(applied, total int) {
		progress(control.ImportProgress{Read: total, Applied: applied, Total: total})
	})
	if errors.Is(err, errDryRun) || errors.Is(err, errHeld) {
		return result, err
	}
	if err != nil {
		return control.ImportResult{}, changeError(fmt.Errorf("import %s: %w", r.Origin, err))
	}
	d.broadcast.Send(control.Event{Type: control.EventImported, Import: &control.ImportSummary{
		Origin: r.Origin, Added: result.Added, Removed: result.Removed, Unchanged: result.Unchanged,
		Renewed: result.Renewed, Refused: len(result.Refused),
	}})
	return result, nil
}

// setOf returns the set that a list becomes.
func (r listChange) setOf(wanted *engine.List, now policy.Deadline) engine.Set {
	return engine.Set{List: wanted, Now: now, Slack: policy.Deadline(r.slack), Entry: policy.Entry{
		Kind: r.Kind, Action: r.Action, Rate: r.Rate, Origin: r.Origin, Reason: r.Reason,
		Author: r.author, Created: time.Now().UTC().Truncate(time.Second), Deadline: policy.After(now, r.For),
		Replies: r.Replies,
	}}
}

func countChanges(result *control.ImportResult, origin string, r engine.Replaced) {
	result.Added, result.Removed, result.Unchanged, result.Renewed = r.Added, r.Removed, r.Unchanged, r.Renewed
	if r.Shortened > 0 {
		result.Notes = append(result.Notes, fmt.Sprintf(
			"the list shortens the time of %s of %s", entriesText(r.Shortened), origin))
	}
}

func readList(r listChange, list io.Reader, progress func(control.ImportProgress)) (*engine.List, error) {
	wanted, err := engine.ReadList(list, r.most, func(read int) { progress(control.ImportProgress{Read: read}) })
	if errors.Is(err, engine.ErrFull) && r.tooLong != nil {
		return nil, r.tooLong
	}
	if err != nil {
		return nil, changeError(err)
	}
	if r.longest > 0 {
		wanted.Shorten(r.longest)
	}
	return wanted, nil
}

// guardList removes the prefixes that the guard refuses from the list, unless force keeps
// them, and finds the open sessions inside the others, which are spared. It adds both to
// the result. The guard does not refuse shadow entries, and of allows it refuses only wide
// ones.
func (d *Daemon) guardList(
	ctx context.Context, r listChange, l *engine.List, result *control.ImportResult,
) (guard.Changes, error) {
	if r.Action == policy.Shadow {
		return guard.Changes{}, nil
	}
	check := listGuard{request: r.Import, result: result, forced: make(map[netip.Prefix]bool)}
	if r.Kind == policy.Block {
		current, err := r.guard(ctx)
		if err != nil && !r.Force {
			return guard.Changes{}, control.Errorf(control.CodeRefused,
				"%v; add --force to import without this check", err)
		}
		check.protects = current
	}
	l.Filter(check.keep)
	if check.wide > 0 {
		result.Notes = append(result.Notes, fmt.Sprintf("%d of the refused prefixes are wider than /%d of IPv4 or /%d "+
			"of IPv6; --wide accepts them, and keeps what is protected", check.wide, policy.WidestIPv4,
			policy.WidestIPv6))
	}
	slices.SortFunc(result.Refused, func(x, y control.RefusedLine) int { return cmp.Compare(x.Line, y.Line) })
	slices.SortFunc(result.Spared, func(x, y control.SparedLine) int { return cmp.Compare(x.Line, y.Line) })
	return guard.Changes{Forced: check.forced, Spare: guard.Spares(check.sessions, d.engine.Now())}, nil
}

// listGuard is the guard for the prefixes of a list.
type listGuard struct {
	request  control.Import
	protects *policy.Guard // nil for allows
	result   *control.ImportResult

	sessions []netip.Addr
	forced   map[netip.Prefix]bool // blocks against the guard
	wide     int                   // prefixes refused because they are wide
}

// keep is for engine.List.Filter.
func (g *listGuard) keep(p netip.Prefix, number int) (keep, override bool) {
	refusal, wide := g.refusal(p)
	var inside []netip.Addr
	if g.protects != nil {
		inside = g.protects.Sessions(p)
	}
	switch {
	case g.request.Force:
		override = refusal != nil || len(inside) > 0
		if override && g.protects != nil {
			g.forced[p] = true
		}
		return true, override
	case refusal != nil:
		if wide {
			g.wide++
		}
		g.result.Refused = append(g.result.Refused, control.RefusedLine{
			Prefix: p.String(), Line: number, Message: refusal.Error(),
		})
		return false, false
	case len(inside) > 0:
		g.sessions = append(g.sessions, inside...)
		g.result.Spared = append(g.result.Spared, sparedLine(p, number, inside))
	}
	return true, g.protects == nil && policy.IsWide(p)
}

// refusal returns the refusal of a prefix, and whether its cause is the width.
func (g *listGuard) refusal(p netip.Prefix) (refusal *policy.Refusal, wide bool) {
	if refusal := policy.CheckWidth(p); refusal != nil && !g.request.Wide {
		return refusal, true
	}
	if g.protects == nil {
		return nil, false
	}
	return g.protects.CheckProtected(p), false
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

// spareWithoutAllows returns the allows for open sessions that a block would cut without the allows
// that a list of allows replaces. It adds them to the notes of the result.
func (d *Daemon) spareWithoutAllows(
	ctx context.Context, r listChange, wanted *engine.List, result *control.ImportResult,
) (spared []policy.Entry) {
	if r.Kind != policy.Allow || r.Force || d.countOrigin(policy.Allow, r.Origin) == 0 {
		return nil
	}
	current, err := r.guard(ctx)
	sessions := guard.SessionsOf(current)
	for p := range wanted.Prefixes() {
		sessions = slices.DeleteFunc(sessions, p.Contains)
	}
	ends := func(e policy.Entry) bool { return e.Origin == r.Origin }
	d.engine.Read(func(b *policy.Book) { spared = guard.SparesWithout(b, sessions, ends, d.engine.Now()) })
	result.Notes = append(result.Notes, append(mayCut(err), guard.SpareNotes(spared)...)...)
	return spared
}
