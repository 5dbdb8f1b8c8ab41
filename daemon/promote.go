package daemon

import (
	"context"
	"net/netip"
	"strings"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/guard"
	"github.com/paraxial/paraxial/policy"
)

// Promote implements control.Backend. It turns shadow entries into drops. They keep
// reason, creation time and expiry; their author becomes the caller. Either all of them
// change or none.
func (d *Daemon) Promote(ctx context.Context, c control.Caller, r control.Promotion) (control.ChangeResult, error) {
	guarded, err := d.guardPrefixes(ctx, c, r.Prefixes, policy.Drop, r.Force)
	if err != nil {
		return control.ChangeResult{}, err
	}
	var entries []policy.Entry
	err = d.engine.Edit(asCaller(ctx, c), func(b *policy.Book) (ops []policy.Op, _ error) {
		entries, ops = nil, guarded.Ops(b)
		for _, p := range r.Prefixes {
			e, err := shadowAt(b, p, r.Origin, d.engine.Now())
			if err != nil {
				return nil, err
			}
			e.Action, e.Author, e.Forced = policy.Drop, c.Author(), guarded.Forced[p]
			entries, ops = append(entries, e), append(ops, policy.PutOp(e))
		}
		return ops, nil
	})
	if err != nil {
		return control.ChangeResult{}, changeError(err)
	}
	result := d.added(entries)
	d.broadcast.Announce(control.EventAdded, d.wire.Entries(guarded.Spare))
	result.Notes = append(r.Notes, guard.SpareNotes(guarded.Spare)...)
	return result, nil
}

// shadowAt returns the live shadow entry that an origin has at p.
func shadowAt(b *policy.Book, p netip.Prefix, origin string, now policy.Deadline) (policy.Entry, error) {
	var found policy.Entry
	var exists bool
	var others []string
	for e := range b.At(policy.Block, p) {
		switch {
		case e.Pending != nil || !e.Live(now):
		case e.Origin == origin:
			found, exists = e, true
		case e.Action == policy.Shadow:
			others = append(others, e.Origin)
		}
	}
	hint := ""
	if len(others) > 0 {
		hint = "; a shadow entry is there from origin " + strings.Join(others, ", ")
	}
	switch {
	case !exists:
		return found, control.Errorf(control.CodeNotFound,
			"nothing was changed: origin %s has no block of %s%s", origin, p, hint)
	case found.Action != policy.Shadow:
		return found, control.Errorf(control.CodeNotFound,
			"nothing was changed: the block of %s by origin %s is not a shadow entry, its action is %s%s",
			p, origin, found.Action, hint)
	}
	return found, nil
}
