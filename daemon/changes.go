package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/policy"
)

// Block implements control.Backend.
func (d *Daemon) Block(ctx context.Context, c control.Caller, r control.BlockRequest) (control.ChangeResult, error) {
	prefixes, notes, err := parsePrefixes(r.Prefixes)
	if err != nil {
		return control.ChangeResult{}, err
	}
	action, rate, err := actionOf(r)
	if err != nil {
		return control.ChangeResult{}, err
	}
	forced, err := d.guardPrefixes(ctx, prefixes, action, r.Force)
	if err != nil {
		return control.ChangeResult{}, err
	}
	pending, until, err := d.terms(r)
	if err != nil {
		return control.ChangeResult{}, err
	}
	entries := make([]policy.Entry, len(prefixes))
	for i, p := range prefixes {
		entries[i] = policy.Entry{
			Prefix: p, Kind: policy.Block, Action: action, Rate: rate, Origin: r.Origin, Reason: r.Reason,
			Author: c.Author(), Created: time.Now().UTC().Truncate(time.Second), Deadline: until,
			Forced: slices.Contains(forced, p), Pending: pending,
		}
	}
	result, err := d.put(ctx, entries)
	result.Notes = notes
	if pending != nil {
		by := d.engine.Wall(until)
		result.ConfirmID, result.ConfirmBy = pending.ID, &by
	}
	return result, err
}

// actionOf returns what a request does with packets, and of a limit the rate.
func actionOf(r control.BlockRequest) (policy.Action, policy.Rate, error) {
	switch r.Action {
	case policy.Shadow.String():
		return policy.Shadow, policy.Rate{}, nil
	case policy.Limit.String():
		rate, err := policy.ParseRate(r.Rate)
		if err != nil {
			return 0, rate, control.Errorf(control.CodeInvalidRequest, "%v", err)
		}
		return policy.Limit, rate, nil
	}
	return policy.Drop, policy.Rate{}, nil
}

// Allow implements control.Backend.
func (d *Daemon) Allow(ctx context.Context, c control.Caller, r control.AllowRequest) (control.ChangeResult, error) {
	prefixes, notes, err := parsePrefixes(r.Prefixes)
	if err != nil {
		return control.ChangeResult{}, err
	}
	deadline, err := deadlineFor(d.engine.Now(), r.For)
	if err != nil {
		return control.ChangeResult{}, err
	}
	entries := make([]policy.Entry, len(prefixes))
	for i, p := range prefixes {
		entries[i] = policy.Entry{
			Prefix: p, Kind: policy.Allow, Origin: r.Origin, Reason: r.Reason,
			Author: c.Author(), Created: time.Now().UTC().Truncate(time.Second), Deadline: deadline,
		}
	}
	result, err := d.put(ctx, entries)
	result.Notes = notes
	return result, err
}

// put acknowledges entries and tells who watches.
func (d *Daemon) put(ctx context.Context, entries []policy.Entry) (control.ChangeResult, error) {
	ops := make([]policy.Op, len(entries))
	for i, e := range entries {
		ops[i] = policy.PutOp(e)
	}
	if err := d.engine.Edit(ctx, func(*policy.Book) ([]policy.Op, error) { return ops, nil }); err != nil {
		return control.ChangeResult{}, changeError(err)
	}
	return d.added(entries), nil
}

// added announces entries that are in force now, and returns them as a result.
func (d *Daemon) added(entries []policy.Entry) control.ChangeResult {
	result := control.ChangeResult{Entries: d.wireEntries(entries)}
	d.announce(control.EventAdded, result.Entries)
	return result
}

// Unblock implements control.Backend.
func (d *Daemon) Unblock(ctx context.Context, _ control.Caller, r control.UnblockRequest) (control.RemoveResult, error) {
	prefixes, notes, err := parsePrefixes(r.Prefixes)
	if err != nil {
		return control.RemoveResult{}, err
	}
	removed, err := d.remove(ctx, policy.Block, prefixes, r.Origin, r.All)
	if err != nil {
		return control.RemoveResult{}, err
	}
	d.detection.removed(removed)
	return control.RemoveResult{Removed: removed, StillBlocked: d.stillBlocked(prefixes), Notes: notes}, nil
}

// Unallow implements control.Backend.
func (d *Daemon) Unallow(ctx context.Context, _ control.Caller, r control.UnallowRequest) (control.RemoveResult, error) {
	prefixes, notes, err := parsePrefixes(r.Prefixes)
	if err != nil {
		return control.RemoveResult{}, err
	}
	removed, err := d.remove(ctx, policy.Allow, prefixes, r.Origin, r.All)
	if err != nil {
		return control.RemoveResult{}, err
	}
	return control.RemoveResult{Removed: removed, Notes: notes}, nil
}

// remove takes out the entries that stand at exactly these prefixes, of one
// origin or of all. What is found and what is removed cannot differ, because no
// other change comes between.
func (d *Daemon) remove(ctx context.Context, kind policy.Kind, prefixes []netip.Prefix, origin string, all bool) ([]control.Entry, error) {
	var removed []control.Entry
	err := d.engine.Edit(ctx, func(b *policy.Book) (ops []policy.Op, _ error) {
		var entries []policy.Entry
		for _, p := range prefixes {
			for e := range b.At(kind, p) {
				if all || e.Origin == origin {
					entries, ops = append(entries, e), append(ops, policy.RemoveOp(e.Key()))
				}
			}
		}
		removed = d.wireEntries(entries) // with their drops, which are gone afterwards
		return ops, nil
	})
	if err != nil {
		return nil, changeError(err)
	}
	d.announce(control.EventRemoved, removed)
	return removed, nil
}

// stillBlocked returns the blocks in force that cover any of the prefixes.
func (d *Daemon) stillBlocked(prefixes []netip.Prefix) []control.Entry {
	var entries []policy.Entry
	now := d.engine.Now()
	d.engine.Read(func(b *policy.Book) {
		for _, p := range prefixes {
			for e := range b.Covering(policy.Block, p) {
				if e.Live(now) {
					entries = append(entries, e)
				}
			}
		}
	})
	return d.wireEntries(entries)
}

// Confirm implements control.Backend.
func (d *Daemon) Confirm(ctx context.Context, _ control.Caller, r control.ConfirmRequest) (control.ChangeResult, error) {
	var confirmed []policy.Entry
	err := d.engine.Edit(ctx, func(b *policy.Book) (ops []policy.Op, err error) {
		if confirmed, err = waiting(b, r.ID, d.engine.Now()); err != nil {
			return nil, err
		}
		for i, e := range confirmed {
			ops = append(ops, policy.RemoveOp(e.Key()))
			e.Deadline, e.Pending = e.Pending.Deadline, nil
			ops = append(ops, policy.PutOp(e))
			confirmed[i] = e
		}
		return ops, nil
	})
	if err != nil {
		return control.ChangeResult{}, changeError(err)
	}
	return d.added(confirmed), nil
}

// waiting returns the entries that wait for the confirmation with this ID, or
// for the only one if id is empty.
func waiting(b *policy.Book, id string, now policy.Deadline) ([]policy.Entry, error) {
	entries := slices.DeleteFunc(b.Pending(id), func(e policy.Entry) bool { return !e.Live(now) })
	if len(entries) == 0 {
		if id == "" {
			return nil, control.Errorf(control.CodeNotFound, "nothing waits for confirmation")
		}
		return nil, control.Errorf(control.CodeNotFound, "nothing waits for confirmation under %q: it was confirmed, or it has been reverted", id)
	}
	if ids := pendingIDs(entries); len(ids) > 1 {
		return nil, control.Errorf(control.CodeInvalidRequest, "several changes wait for confirmation: name one of %s", strings.Join(ids, ", "))
	}
	return entries, nil
}

func pendingIDs(entries []policy.Entry) []string {
	var ids []string
	for _, e := range entries {
		if !slices.Contains(ids, e.Pending.ID) {
			ids = append(ids, e.Pending.ID)
		}
	}
	return ids
}

// guardPrefixes returns the prefixes that only force lets pass.
func (d *Daemon) guardPrefixes(ctx context.Context, prefixes []netip.Prefix, action policy.Action, force bool) (forced []netip.Prefix, err error) {
	refusals, err := d.refusals(ctx, prefixes, action)
	if err != nil && !force {
		return nil, control.Errorf(control.CodeRefused, "%v; --force blocks without knowing", err)
	}
	var causes []string
	for _, refusal := range refusals {
		forced = append(forced, refusal.Prefix)
		causes = append(causes, refusal.Error())
	}
	if len(refusals) > 0 && !force {
		return nil, control.Errorf(control.CodeRefused, "refused, nothing was blocked: %s; if that is what you want, add --force, and --confirm 60s to have it reverted unless you confirm", strings.Join(causes, "; "))
	}
	return forced, nil
}

// refusals returns what the guard has against the prefixes, and an error if it
// does not know all that it should. Against a shadow entry it has nothing.
func (d *Daemon) refusals(ctx context.Context, prefixes []netip.Prefix, action policy.Action) ([]*policy.Refusal, error) {
	if action == policy.Shadow {
		return nil, nil
	}
	guard, err := d.facts.guard(ctx)
	var refusals []*policy.Refusal
	for _, p := range prefixes {
		if refusal := guard.Check(p); refusal != nil {
			refusals = append(refusals, refusal)
		}
	}
	return refusals, err
}

// parsePrefixes returns the prefixes, each once, and a note for each that is
// not quite what was written.
func parsePrefixes(list []string) (prefixes []netip.Prefix, notes []string, err error) {
	for _, s := range list {
		p, masked, err := policy.ParsePrefix(s)
		if err != nil {
			return nil, nil, control.Errorf(control.CodeInvalidRequest, "%v", err)
		}
		if masked {
			notes = append(notes, fmt.Sprintf("%s has host bits set: taken as %s", s, p))
		}
		if !slices.Contains(prefixes, p) {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes, notes, nil
}

func deadlineFor(now policy.Deadline, ttl string) (policy.Deadline, error) {
	if ttl == "" {
		return policy.Forever, nil
	}
	d, err := policy.ParseTTL(ttl)
	if err != nil {
		return 0, control.Errorf(control.CodeInvalidRequest, "for: %v", err)
	}
	return policy.After(now, d), nil
}

// terms returns until when a block is in force, and how it waits for
// confirmation if it does.
func (d *Daemon) terms(r control.BlockRequest) (*policy.Pending, policy.Deadline, error) {
	now := d.engine.Now()
	deadline, err := deadlineFor(now, r.For)
	if err != nil {
		return nil, 0, err
	}
	return pendingFor(now, r.Confirm, deadline)
}

// pendingFor returns how an entry waits for confirmation, and until when it is
// in force meanwhile. Without confirm that is its deadline.
func pendingFor(now policy.Deadline, confirm string, deadline policy.Deadline) (*policy.Pending, policy.Deadline, error) {
	if confirm == "" {
		return nil, deadline, nil
	}
	window, err := policy.ParseTTL(confirm)
	if err != nil {
		return nil, 0, control.Errorf(control.CodeInvalidRequest, "confirm: %v", err)
	}
	if window == policy.TTLForever {
		return nil, 0, control.Errorf(control.CodeInvalidRequest, "confirm: forever is no time to revert after")
	}
	id := strings.ToLower(rand.Text()[:6])
	return &policy.Pending{ID: id, Deadline: deadline}, min(policy.After(now, window), deadline), nil
}

// changeError gives an error of the engine the code that the client sees.
func changeError(err error) error {
	if _, ok := errors.AsType[*engine.SaveError](err); ok {
		return control.Errorf(control.CodeStoreFailed, "%v", err)
	}
	if errors.Is(err, engine.ErrFull) {
		return control.Errorf(control.CodeTooLarge, "nothing was changed: %v", err)
	}
	return err
}

// announce tells who watches. Long lists are counted by the caller instead.
func (d *Daemon) announce(event string, entries []control.Entry) {
	if !d.broadcast.watched() {
		return
	}
	for i := range entries {
		d.broadcast.send(control.Event{Type: event, Entry: &entries[i]})
	}
}
