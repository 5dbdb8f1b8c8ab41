package guard

import (
	"context"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// SpareAhead is how long before the end of an allow the sessions in it are spared. It is longer
// than a reading of the facts takes.
const SpareAhead = readTimeout + 10*time.Second

// mostEnding is the number of entries that are looked at to find allows that end soon.
const mostEnding = 10_000

// OpenFor returns the addresses of open sessions that a request of a caller must not cut. The error
// tells that some may be missing.
func (r *Reader) OpenFor(ctx context.Context, c Caller) ([]netip.Addr, error) {
	g, err := r.GuardFor(ctx, c)
	return SessionsOf(g), err
}

// SessionsOf returns the addresses of all open sessions that the guard knows.
func SessionsOf(g *policy.Guard) []netip.Addr {
	return append(g.Sessions(netip.PrefixFrom(netip.IPv4Unspecified(), 0)),
		g.Sessions(netip.PrefixFrom(netip.IPv6Unspecified(), 0))...)
}

// SparesWithout returns the allows for those sessions that blocks would cut without the allows that
// end. Blocks that override the guard cut sessions.
func SparesWithout(
	b *policy.Book, sessions []netip.Addr, ends func(policy.Entry) bool, now policy.Deadline,
) []policy.Entry {
	var cut []netip.Addr
	for _, a := range sessions {
		p := netip.PrefixFrom(a, a.BitLen())
		allowed, stays := false, false
		for e := range b.Covering(policy.Allow, p) {
			if e.Live(now) {
				allowed, stays = true, stays || !ends(e)
			}
		}
		if allowed && !stays && needsSparing(b, p, now) {
			cut = append(cut, a)
		}
	}
	return Spares(cut, now)
}

// SparesAhead returns the allows for sessions whose allows end within SpareAhead.
func SparesAhead(b *policy.Book, protected []policy.Protected, now policy.Deadline) []policy.Entry {
	var sessions []netip.Addr
	for _, p := range protected {
		if p.Session {
			sessions = append(sessions, p.Prefix.Addr())
		}
	}
	soon := policy.After(now, SpareAhead)
	return SparesWithout(b, sessions, func(e policy.Entry) bool { return !e.Live(soon) }, now)
}

// AllowsEnd reports whether an allow may end within SpareAhead. It is false if there is none.
func AllowsEnd(b *policy.Book, now policy.Deadline) bool {
	due := b.Expired(policy.After(now, SpareAhead), mostEnding)
	for _, e := range due {
		if e.Kind == policy.Allow {
			return true
		}
	}
	return len(due) == mostEnding
}
