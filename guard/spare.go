package guard

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// The address of an open session inside a blocked prefix is spared by an allow of the origin
// policy.OriginSession. The allow is renewed while the session lasts.
const (
	// spareFor is how long such an allow lasts without the daemon: longer than a restart.
	spareFor    = 10 * time.Minute
	spareAuthor = "guard"
	spareReason = "a session is open from here, inside a blocked prefix"
)

// spare returns the allow for the address of a session.
func spare(a netip.Addr, now policy.Deadline) policy.Entry {
	return policy.Entry{
		Prefix: netip.PrefixFrom(a, a.BitLen()), Kind: policy.Allow, Origin: policy.OriginSession,
		Reason: spareReason, Author: spareAuthor, Created: time.Now().UTC().Truncate(time.Second),
		Deadline: policy.After(now, spareFor),
	}
}

// Spares returns the allows for the addresses of sessions, each once.
func Spares(sessions []netip.Addr, now policy.Deadline) []policy.Entry {
	var entries []policy.Entry
	seen := make(map[netip.Addr]bool)
	for _, a := range sessions {
		if !seen[a] {
			seen[a] = true
			entries = append(entries, spare(a, now))
		}
	}
	return entries
}

// SpareNotes tells about spared addresses.
func SpareNotes(entries []policy.Entry) []string {
	var notes []string
	for _, e := range entries {
		notes = append(notes, fmt.Sprintf("%s is spared: a session to this host is open from there. It is "+
			"allowed (origin %s) as long as the session lasts", e.Prefix.Addr(), e.Origin))
	}
	return notes
}

// Spared returns the allows that spare sessions.
func Spared(b *policy.Book) []policy.Entry {
	some := false
	for g := range b.Counts() {
		some = some || g.Kind == policy.Allow && g.Origin == policy.OriginSession
	}
	if !some {
		return nil
	}
	var entries []policy.Entry
	for r := range b.Origin(policy.Allow, policy.OriginSession) {
		if e, ok := b.Resolve(r); ok {
			entries = append(entries, e)
		}
	}
	return entries
}

// endSparing returns the changes that remove the allows of sessions inside prefixes whose
// block overrides the guard.
func endSparing(b *policy.Book, forced map[netip.Prefix]bool) []policy.Op {
	if len(forced) == 0 {
		return nil
	}
	var ops []policy.Op
	for _, e := range Spared(b) {
		for p := range forced {
			if p.Contains(e.Prefix.Addr()) {
				ops = append(ops, policy.RemoveOp(e.Key()))
				break
			}
		}
	}
	return ops
}

// needsSparing reports whether blocks cover an address, none of which overrides the guard.
func needsSparing(b *policy.Book, p netip.Prefix, now policy.Deadline) bool {
	needed := false
	for e := range b.Covering(policy.Block, p) {
		if !e.Live(now) || e.Action == policy.Shadow {
			continue
		}
		if e.Forced {
			return false
		}
		needed = true
	}
	return needed
}

// Renewals returns the changes that renew the allows of sessions that are open, and remove those
// of other sessions. It also returns the allows that they remove.
func Renewals(
	b *policy.Book, protected []policy.Protected, now policy.Deadline,
) (ops []policy.Op, ended []policy.Entry) {
	open := make(map[netip.Prefix]bool)
	for _, p := range protected {
		if p.Session {
			open[p.Prefix] = true
		}
	}
	for _, e := range Spared(b) {
		switch {
		case !open[e.Prefix] || !needsSparing(b, e.Prefix, now):
			ops, ended = append(ops, policy.RemoveOp(e.Key())), append(ended, e)
		case e.Deadline < policy.After(now, spareFor/2):
			e.Deadline = policy.After(now, spareFor)
			ops = append(ops, policy.PutOp(e))
		}
	}
	return ops, ended
}
