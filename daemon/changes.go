package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/guard"
	"github.com/paraxial/paraxial/policy"
)

// asCaller returns the context for the changes of a caller, who takes turns with others.
func asCaller(ctx context.Context, c control.Caller) context.Context {
	return engine.For(ctx, c.Author())
}

// Block implements control.Backend.
func (d *Daemon) Block(ctx context.Context, c control.Caller, r control.Block) (control.ChangeResult, error) {
	guarded, err := d.guardPrefixes(ctx, c, r.Prefixes, r.Action, r.Force)
	if err != nil {
		return control.ChangeResult{}, err
	}
	pending, until := terms(r, d.engine.Now())
	entries := make([]policy.Entry, len(r.Prefixes))
	for i, p := range r.Prefixes {
		entries[i] = policy.Entry{
			Prefix: p, Kind: policy.Block, Action: r.Action, Rate: r.Rate, Origin: r.Origin, Reason: r.Reason,
			Author: c.Author(), Created: time.Now().UTC().Truncate(time.Second), Deadline: until,
			Forced: guarded.Forced[p], Pending: pending, Replies: r.Replies,
		}
	}
	if r.Replies {
		defer d.replies.expect()()
	}
	result, err := d.put(asCaller(ctx, c), entries, guarded, r.Replace)
	if err != nil {
		return control.ChangeResult{}, err
	}
	result.Notes = append(r.Notes, append(result.Notes, guard.SpareNotes(guarded.Spare)...)...)
	if pending != nil && len(result.Kept) < len(entries) {
		by := d.engine.Wall(until)
		result.ConfirmID, result.ConfirmBy = pending.ID, &by
	}
	var notes []string
	result.Allowed, notes = d.allowed(ctx, r.Prefixes)
	result.Notes = append(result.Notes, notes...)
	return result, nil
}

// Allow implements control.Backend.
func (d *Daemon) Allow(ctx context.Context, c control.Caller, r control.Allow) (control.ChangeResult, error) {
	if !r.Force {
		sorted := slices.SortedFunc(slices.Values(r.Prefixes), netip.Prefix.Compare)
		if err := checkWide(slices.Values(sorted), "--force"); err != nil {
			return control.ChangeResult{}, err
		}
	}
	entries := make([]policy.Entry, len(r.Prefixes))
	for i, p := range r.Prefixes {
		entries[i] = policy.Entry{
			Prefix: p, Kind: policy.Allow, Origin: r.Origin, Reason: r.Reason, Author: c.Author(),
			Created: time.Now().UTC().Truncate(time.Second), Deadline: policy.After(d.engine.Now(), r.For),
			Forced: policy.IsWide(p),
		}
	}
	result, err := d.put(asCaller(ctx, c), entries, guard.Changes{}, r.Replace)
	if err != nil {
		return control.ChangeResult{}, err
	}
	if r.For < guard.SpareAhead {
		d.spareNow(ctx) // the next check may be too late
	}
	result.Notes = append(r.Notes, result.Notes...)
	return result, nil
}

// put saves and enforces entries with what the guard asks for, and announces them. Unless
// replace is set, stronger or longer entries of the same origin stay.
func (d *Daemon) put(
	ctx context.Context, entries []policy.Entry, g guard.Changes, replace bool,
) (control.ChangeResult, error) {
	return d.putIf(ctx, func(*policy.Book) error { return nil }, entries, g, replace)
}

// putIf is put if the book allows it. An error of allows is returned, and nothing is changed.
func (d *Daemon) putIf(
	ctx context.Context, allows func(*policy.Book) error, entries []policy.Entry, g guard.Changes, replace bool,
) (control.ChangeResult, error) {
	var r renewal
	var replaced []control.Entry
	err := d.engine.Edit(ctx, func(b *policy.Book) ([]policy.Op, error) {
		if err := allows(b); err != nil {
			return nil, err
		}
		r = renewal{}
		ops := g.Ops(b)
		for _, e := range entries {
			ops = append(ops, r.put(b, e, replace, d.engine.Now())...)
		}
		replaced = d.wire.Entries(r.replaced)
		return ops, nil
	})
	if err != nil {
		return control.ChangeResult{}, changeError(err)
	}
	d.broadcast.Announce(control.EventAdded, d.wire.Entries(g.Spare))
	return d.renewed(r, replaced), nil
}

// added announces entries that are in force now, and returns them as a result.
func (d *Daemon) added(entries []policy.Entry) control.ChangeResult {
	result := control.ChangeResult{Entries: d.wire.Entries(entries)}
	d.broadcast.Announce(control.EventAdded, result.Entries)
	return result
}

// Unblock implements control.Backend.
func (d *Daemon) Unblock(ctx context.Context, c control.Caller, r control.Removal) (control.RemoveResult, error) {
	removed, _, err := d.remove(asCaller(ctx, c), policy.Block, r, nil)
	if err != nil {
		return control.RemoveResult{}, err
	}
	d.removed(removed)
	return control.RemoveResult{Removed: removed, StillBlocked: d.stillBlocked(ctx, r.Prefixes), Notes: r.Notes}, nil
}

// removed tells detectors and rules about entries that are gone on request.
func (d *Daemon) removed(entries []control.Entry) {
	d.detection.removed(entries)
	d.ruling.removed(entries)
}

// remove removes the entries of exactly these prefixes, and returns them as they were
// before. It spares those of the sessions that would be cut.
func (d *Daemon) remove(
	ctx context.Context, kind policy.Kind, r control.Removal, sessions []netip.Addr,
) (removed []control.Entry, spared []policy.Entry, err error) {
	err = d.engine.Edit(ctx, func(b *policy.Book) ([]policy.Op, error) {
		entries := chosen(b, kind, r)
		var remove []policy.Op
		ends := make(map[policy.Key]bool)
		for _, e := range entries {
			remove, ends[e.Key()] = append(remove, policy.RemoveOp(e.Key())), true
		}
		spared = guard.SparesWithout(b, sessions, func(e policy.Entry) bool { return ends[e.Key()] }, d.engine.Now())
		removed = d.wire.Entries(entries) // with their drop counts, which are lost afterwards
		return append(puts(spared), remove...), nil
	})
	if err != nil {
		return nil, nil, changeError(err)
	}
	d.broadcast.Announce(control.EventAdded, d.wire.Entries(spared))
	d.broadcast.Announce(control.EventRemoved, removed)
	return removed, spared, nil
}

// chosen returns the entries that a request removes.
func chosen(b *policy.Book, kind policy.Kind, r control.Removal) (entries []policy.Entry) {
	for _, p := range r.Prefixes {
		for e := range b.At(kind, p) {
			if r.Origin == e.Origin || r.Origin == "" && (r.Force || e.Origin != policy.OriginSession) {
				entries = append(entries, e)
			}
		}
	}
	return entries
}

func puts(entries []policy.Entry) (ops []policy.Op) {
	for _, e := range entries {
		ops = append(ops, policy.PutOp(e))
	}
	return ops
}

// stillBlocked returns the blocks in force that cover any of the prefixes. It returns
// some of them if ctx ends.
func (d *Daemon) stillBlocked(ctx context.Context, prefixes []netip.Prefix) []control.Entry {
	var entries []policy.Entry
	now := d.engine.Now()
	d.readEach(ctx, prefixes, func(b *policy.Book, p netip.Prefix) bool {
		for e := range b.Covering(policy.Block, p) {
			if e.Live(now) {
				entries = append(entries, e)
			}
		}
		return true
	})
	return d.wire.Entries(entries)
}

// prefixesBatch is the number of prefixes that are looked up at a time, so that a long
// request does not delay changes, and thereby other requests.
const prefixesBatch = 128

// readEach calls f with each prefix, until f returns false or ctx ends. The book may change
// between two calls.
func (d *Daemon) readEach(
	ctx context.Context, prefixes []netip.Prefix, f func(*policy.Book, netip.Prefix) bool,
) {
	more := true
	for batch := range slices.Chunk(prefixes, prefixesBatch) {
		if ctx.Err() != nil || !more {
			return
		}
		d.engine.Read(func(b *policy.Book) {
			for _, p := range batch {
				if more = f(b, p); !more {
					return
				}
			}
		})
	}
}

// Confirm implements control.Backend.
func (d *Daemon) Confirm(
	ctx context.Context, c control.Caller, r control.ConfirmRequest,
) (control.ChangeResult, error) {
	var renewed renewal
	var replaced []control.Entry
	err := d.engine.Edit(asCaller(ctx, c), func(b *policy.Book) (ops []policy.Op, err error) {
		now := d.engine.Now()
		confirmed, err := waiting(b, r.ID, now)
		if err != nil {
			return nil, err
		}
		renewed = renewal{}
		for _, e := range confirmed {
			ops = append(ops, policy.RemoveOp(e.Key()))
			replace := e.Pending.Replace
			e.Deadline, e.Pending = e.Pending.Deadline, nil
			ops = append(ops, renewed.put(b, e, replace, now)...)
		}
		replaced = d.wire.Entries(renewed.replaced)
		return ops, nil
	})
	if err != nil {
		return control.ChangeResult{}, changeError(err)
	}
	return d.renewed(renewed, replaced), nil
}

// waiting returns the entries that wait for the confirmation with this ID. If id is
// empty, exactly one confirmation must be pending.
func waiting(b *policy.Book, id string, now policy.Deadline) ([]policy.Entry, error) {
	entries := slices.DeleteFunc(b.Pending(id), func(e policy.Entry) bool { return !e.Live(now) })
	if len(entries) == 0 {
		if id == "" {
			return nil, control.Errorf(control.CodeNotFound, "nothing waits for confirmation")
		}
		return nil, control.Errorf(control.CodeNotFound,
			"nothing waits for confirmation under %q: it was confirmed, or it has been reverted", id)
	}
	if ids := pendingIDs(entries); len(ids) > 1 {
		return nil, control.Errorf(control.CodeInvalidRequest,
			"several changes wait for confirmation: name one of %s", strings.Join(ids, ", "))
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

func guardCaller(c control.Caller) guard.Caller {
	return guard.Caller{PID: int(c.PID), Accepted: c.Accepted}
}

// guardPrefixes asks the guard about prefixes. Unless force overrides the guard, a refusal
// is an error.
func (d *Daemon) guardPrefixes(
	ctx context.Context, c control.Caller, prefixes []netip.Prefix, action policy.Action, force bool,
) (guard.Changes, error) {
	refusals, sessions, err := d.guard.Check(ctx, guardCaller(c), prefixes, action)
	if err != nil && !force {
		return guard.Changes{}, control.Errorf(control.CodeRefused, "%v; add --force to block without this check", err)
	}
	var causes []string
	forced := make(map[netip.Prefix]bool)
	for _, refusal := range refusals {
		forced[refusal.Prefix] = true
		causes = append(causes, refusal.Error())
	}
	if len(refusals) > 0 && !force {
		return guard.Changes{}, control.Errorf(control.CodeRefused, "refused, nothing was blocked: %s; "+
			"if that is what you want, add --force, and --confirm 60s to have it reverted unless you confirm",
			strings.Join(causes, "; "))
	}
	var inside []netip.Addr
	for p, addrs := range sessions {
		forced[p] = forced[p] || force
		inside = append(inside, addrs...)
	}
	if force {
		return guard.Changes{Forced: forced}, nil
	}
	slices.SortFunc(inside, netip.Addr.Compare)
	return guard.Changes{Spare: guard.Spares(inside, d.engine.Now())}, nil
}

// terms returns the deadline of a block, and its pending state if it must be
// confirmed.
func terms(r control.Block, now policy.Deadline) (*policy.Pending, policy.Deadline) {
	deadline := policy.After(now, r.For)
	if r.Confirm == 0 {
		return nil, deadline
	}
	id := strings.ToLower(rand.Text()[:6])
	return &policy.Pending{ID: id, Deadline: deadline, Replace: r.Replace}, min(policy.After(now, r.Confirm), deadline)
}

// changeError gives an error of the engine the code that the API returns.
func changeError(err error) error {
	if _, ok := errors.AsType[*engine.SaveError](err); ok {
		return control.Errorf(control.CodeStoreFailed, "%v", err)
	}
	if _, ok := errors.AsType[engine.TooLargeError](err); ok {
		return control.Errorf(control.CodeTooLarge, "%v", err)
	}
	if errors.Is(err, engine.ErrFull) {
		return control.Errorf(control.CodeTooLarge, "nothing was changed: %v", err)
	}
	return err
}
