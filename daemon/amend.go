package daemon

import (
	"context"
	"fmt"
	"io"
	"reflect"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/report"
)

// Change implements report.Backend. Prefixes may be removed freely, because each is named. Those
// that are put have the bounds of a set that is put: what they cover is added to what the set
// covered then.
func (r *reporting) Change(
	ctx context.Context, reporter string, c report.Changes, list io.Reader,
) (report.Result, error) {
	feed, err := r.feed(c.Name)
	if err != nil {
		return report.Result{}, err
	}
	if !feed.InKernel() {
		return report.Result{}, report.Errorf(report.CodeInvalidRequest,
			"the set %s has use: %s and cannot be changed: put it", c.Name, feed.Use)
	}
	r.mu.Lock()
	known, ok := r.sets[c.Name]
	r.mu.Unlock()
	if !ok || !reflect.DeepEqual(known.feed, feed) {
		return report.Result{}, notInForce(c.Name, c.Generation)
	}
	change := r.changeOf(feed, reporter)
	wanted, err := readList(change, list, func(control.ImportProgress) {})
	if err != nil {
		return report.Result{}, reportError(err)
	}
	if len(wanted.Invalid) > 0 {
		return report.Result{}, invalidLine(wanted.Invalid[0].Number, wanted.Invalid[0].Err.Error())
	}
	known.covers.IPv4 += wanted.Share(policy.IPv4)
	known.covers.IPv6 += wanted.Share(policy.IPv6)
	result, err := r.amend(ctx, change, known, wanted, c)
	if err != nil {
		return report.Result{}, reportError(err)
	}
	known.generation, known.entries = c.Generation, r.countOrigin(change.Kind, change.Origin)
	r.remember(c.Name, known)
	return result, nil
}

// amend makes the changes if the bounds and the guard let it.
func (r *reporting) amend(
	ctx context.Context, change listChange, known handedIn, wanted *engine.List, c report.Changes,
) (report.Result, error) {
	after := r.countOrigin(change.Kind, change.Origin) + wanted.Len()
	// As if all were new. The set is put then, for which the exact numbers count.
	if causes := change.bounds.heldBy(change.Import, false, engine.Replaced{
		Added: max(after-known.base, 0), Unchanged: known.base,
	}, known.covers); len(causes) > 0 || after > change.most {
		return report.Result{}, notInForce(c.Name, c.Generation)
	}
	var result control.ImportResult
	guarded, err := r.guardList(ctx, change, wanted, &result)
	if err == nil {
		err = r.spareSessions(ctx, guarded)
	}
	if err != nil {
		return report.Result{}, err
	}
	counts, err := r.engine.Amend(engine.For(ctx, change.author), change.setOf(wanted, r.engine.Now()), c.Remove)
	if err != nil {
		return report.Result{}, changeError(fmt.Errorf("change the set %s: %w", c.Name, err))
	}
	out := report.Result{
		Added: counts.Added, Removed: counts.Removed, Renewed: counts.Renewed, Unchanged: counts.Unchanged,
		Refused: len(result.Refused), Notes: putNotes(result),
	}
	if counts.Added+counts.Removed > 0 {
		r.broadcast.Send(control.Event{Type: control.EventImported, Import: &control.ImportSummary{
			Origin: change.Origin, Added: out.Added, Removed: out.Removed, Unchanged: out.Unchanged,
			Renewed: out.Renewed, Refused: out.Refused,
		}})
	}
	return out, nil
}
