package daemon

import (
	"context"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// renewal is the outcome of a request that puts entries, some of which are in force
// already.
type renewal struct {
	inForce  []policy.Entry // the entry of each prefix after the request
	added    []policy.Entry // those that the request has put
	kept     []policy.Entry // those that stay, because they are stronger or longer
	replaced []policy.Entry // stronger or longer entries that end
	beside   []policy.Entry // entries that end only if the new ones are confirmed
}

// put decides about e, and returns the change to make. An entry that is not confirmed yet
// is put beside the present one, unless that would stay when it is confirmed.
func (r *renewal) put(b *policy.Book, e policy.Entry, replace bool, now policy.Deadline) []policy.Op {
	final := e
	if e.Pending != nil {
		final.Deadline, final.Pending = e.Pending.Deadline, nil
	}
	old, known := b.Get(final.Key())
	known = known && old.Live(now)
	if known && !replace {
		held, kept := policy.Renew(old, final)
		if kept {
			r.inForce, r.kept = append(r.inForce, held), append(r.kept, held)
			if held.Forced == old.Forced {
				return nil
			}
			return []policy.Op{policy.PutOp(held)}
		}
		e.Created = held.Created
	}
	switch {
	case known && e.Pending != nil:
		r.beside = append(r.beside, old)
	case known && policy.Loses(old, e):
		r.replaced = append(r.replaced, old)
	}
	r.inForce, r.added = append(r.inForce, e), append(r.added, e)
	return []policy.Op{policy.PutOp(e)}
}

// renewed announces the entries that were added, and returns the outcome as a result.
// replaced must be read before the change, because their drop counts may end with it.
func (d *Daemon) renewed(r renewal, replaced []control.Entry) control.ChangeResult {
	d.broadcast.Announce(control.EventAdded, d.wire.Entries(r.added))
	result := control.ChangeResult{Entries: d.wire.Entries(r.inForce), Kept: d.wire.Entries(r.kept), Replaced: replaced,
		Beside: d.wire.Entries(r.beside)}
	for _, e := range replaced {
		until := "never expires"
		if e.Expires != nil {
			until = "expires " + e.Expires.Format(time.RFC3339)
		}
		result.Notes = append(result.Notes, fmt.Sprintf(
			"it replaces an entry of %s by %s that was stronger or longer (%s, %s)", e.Prefix, e.Origin,
			actionText(e), until))
	}
	return result
}

func actionText(e control.Entry) string {
	switch {
	case e.Kind == policy.Allow.String():
		return e.Kind
	case e.Rate != "":
		return e.Action + " " + e.Rate
	}
	return e.Action
}

// mostAllowedNotes is the number of notes about allowed prefixes in one answer.
const mostAllowedNotes = 10

// allowed returns those of the prefixes that an allow covers wholly, and notes for people.
func (d *Daemon) allowed(ctx context.Context, prefixes []netip.Prefix) (found []control.Allowed, notes []string) {
	var inside []netip.Prefix
	var by []policy.Entry
	now := d.engine.Now()
	d.readEach(ctx, prefixes, func(b *policy.Book, p netip.Prefix) bool {
		for e := range b.Covering(policy.Allow, p) {
			if e.Live(now) {
				inside, by = append(inside, p), append(by, e)
				break
			}
		}
		return true
	})
	for i, e := range d.wire.Entries(by) {
		found = append(found, control.Allowed{Prefix: inside[i].String(), By: e})
		if i < mostAllowedNotes {
			notes = append(notes, fmt.Sprintf(
				"the packets of %s pass all the same: the allow of %s by %s covers it, and an allow beats every block",
				inside[i], e.Prefix, e.Origin))
		}
	}
	if more := len(found) - len(notes); more > 0 {
		notes = append(notes, "allows cover "+amount(more, "more prefix", "more of the prefixes"))
	}
	return found, notes
}

// checkWide refuses allows that together turn filtering off for a large part of the address
// space. prefixes are in the order of netip.Prefix.Compare. option is what accepts them.
func checkWide(prefixes iter.Seq[netip.Prefix], option string) error {
	for _, f := range policy.Families() {
		share := policy.FilteringOffBy(f, prefixes)
		if share == 0 {
			continue
		}
		what := "the allows together turn"
		for p := range prefixes {
			if policy.FamilyOf(p.Addr()) == f && policy.IsWide(p) {
				what = fmt.Sprintf("the allow of %s turns", p)
				share = math.Exp2(-float64(p.Bits()))
				break
			}
		}
		return control.Errorf(control.CodeRefused, "refused, nothing was allowed: %s filtering off for %s of %s; "+
			"if that is what you want, add %s", what, percent(share), familyText(f), option)
	}
	return nil
}

// percent writes a share of 1 as a percentage with three digits.
func percent(share float64) string { return fmt.Sprintf("%.3g%%", share*100) }

func familyText(f policy.Family) string {
	if f == policy.IPv4 {
		return "IPv4"
	}
	return "IPv6"
}

// wideWarnings warns of allows that turn filtering off for a large part of the address space.
func wideWarnings(all map[policy.Family]policy.FilteringOff) []string {
	var list []string
	for _, f := range policy.Families() {
		off := all[f]
		if off.Share == 0 {
			continue
		}
		p, origin, more := off.Widest.Prefix, off.Widest.Origin, ""
		if off.More > 0 {
			more = fmt.Sprintf("; paraxialctl list allows shows also the allows of other large prefixes (%d)", off.More)
		}
		list = append(list, fmt.Sprintf("filtering is off for %s of %s: the allow of %s by %s beats every block: "+
			"paraxialctl unallow %s --origin %s%s", percent(off.Share), familyText(f), p, origin, p, origin, more))
	}
	return list
}

// filteringOff returns what allows turn filtering off for.
func (d *Daemon) filteringOff() map[policy.Family]policy.FilteringOff {
	all := make(map[policy.Family]policy.FilteringOff)
	d.engine.Read(func(b *policy.Book) {
		for _, f := range policy.Families() {
			all[f] = b.FilteringOff(f)
		}
	})
	return all
}
