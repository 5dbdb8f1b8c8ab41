package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/guard"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/report"
)

// The codes of prefixes that reporters cannot have held.
const (
	codeBogon      = "bogon"
	codeProxy      = "proxy"
	codeOwnAddress = "own_address"
	codeAllowed    = "allowed"
)

// Ban implements report.Backend. The entry is of the reporter's own origin, so it changes no
// other entry. Open sessions inside the prefix are spared.
func (r *reporting) Ban(ctx context.Context, who report.Rights, b report.Ban) (report.Verdict, error) {
	if err := r.mayHold(b.Prefix); err != nil {
		return report.Verdict{}, err
	}
	protects, err := r.guard.Guard(ctx)
	if err != nil {
		return report.Verdict{}, report.Errorf(codeOwnAddress, "nothing was banned: %v", err)
	}
	if refusal := protects.Check(b.Prefix); refusal != nil {
		return report.Verdict{}, report.Errorf(codeOwnAddress, "nothing was banned: %v", refusal)
	}
	now, author := r.engine.Now(), "reporter:"+who.Name
	e := policy.Entry{
		Prefix: b.Prefix, Kind: policy.Block, Action: policy.Drop, Origin: policy.OriginApp + who.Name,
		Reason: b.Reason, Author: author, Created: time.Now().UTC().Truncate(time.Second),
		Deadline: policy.After(now, b.For),
	}
	spare := guard.Changes{Spare: guard.Spares(protects.Sessions(b.Prefix), now)}
	room := func(book *policy.Book) error { return roomForBan(book, who, e.Key()) }
	if _, err := r.putIf(engine.For(ctx, author), room, []policy.Entry{e}, spare, false); err != nil {
		return report.Verdict{}, reportError(fmt.Errorf("ban %s: %w", b.Prefix, err))
	}
	return r.Verdict(b.Prefix.Addr()), nil
}

// mayHold returns an error for a prefix that a reporter cannot have held, apart from those that
// the guard protects.
func (r *reporting) mayHold(p netip.Prefix) error {
	if policy.HasBogon(p) {
		return report.Errorf(codeBogon,
			"nothing was banned: %s has addresses that are not part of the public Internet", p)
	}
	if proxy, ok := r.settings().ProxyOf(p); ok {
		return report.Errorf(codeProxy, "nothing was banned: %s is part of proxies (%s), and a ban would affect all "+
			"users of the proxy", p, proxy)
	}
	now := r.engine.Now()
	if set, ok := r.tags.Proxy(p, now); ok {
		return report.Errorf(codeProxy, "nothing was banned: %s is part of the set %s of proxies, and a ban would "+
			"affect all users of the proxy", p, set)
	}
	var err error
	r.engine.Read(func(b *policy.Book) {
		for e := range b.Covering(policy.Allow, p) {
			if e.Live(now) {
				err = report.Errorf(codeAllowed, "nothing was banned: %s is allowed by %s", p, e.Origin)
				return
			}
		}
	})
	return err
}

// roomForBan returns an error if a reporter has as many bans in force as it may, and key is none
// of them.
func roomForBan(b *policy.Book, who report.Rights, key policy.Key) error {
	if _, known := b.Get(key); known {
		return nil
	}
	live := b.CountOf(key.Kind, key.Origin)
	if live < who.Bans.Live {
		return nil
	}
	return report.Errorf(report.CodeBudget, "%d bans of %s are in force, as many as it may have "+
		"(reports.reporters.ban.live)", live, who.Name)
}
