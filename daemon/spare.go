package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// The address of an open session inside a blocked prefix is spared by an allow of the origin
// policy.OriginSession. The allow is renewed while the session lasts.
const (
	spareInterval = 5 * time.Second // between two checks of the sessions
	// spareFor is how long such an allow lasts without the daemon: longer than a restart.
	spareFor    = 10 * time.Minute
	spareAuthor = "guard"
	spareReason = "a session is open from here, inside a blocked prefix"
)

// spare returns the allow for the address of a session.
func (d *Daemon) spare(a netip.Addr) policy.Entry {
	return policy.Entry{
		Prefix: netip.PrefixFrom(a, a.BitLen()), Kind: policy.Allow, Origin: policy.OriginSession,
		Reason: spareReason, Author: spareAuthor, Created: time.Now().UTC().Truncate(time.Second),
		Deadline: policy.After(d.engine.Now(), spareFor),
	}
}

// spares returns the allows for the addresses of sessions, each once.
func (d *Daemon) spares(sessions []netip.Addr) []policy.Entry {
	var entries []policy.Entry
	seen := make(map[netip.Addr]bool)
	for _, a := range sessions {
		if !seen[a] {
			seen[a] = true
			entries = append(entries, d.spare(a))
		}
	}
	return entries
}

// spareNotes tells about spared addresses.
func spareNotes(entries []policy.Entry) []string {
	var notes []string
	for _, e := range entries {
		notes = append(notes, fmt.Sprintf("%s is spared: a session to this host is open from there. It is "+
			"allowed (origin %s) as long as the session lasts", e.Prefix.Addr(), e.Origin))
	}
	return notes
}

// spared returns the allows that spare sessions.
func spared(b *policy.Book) []policy.Entry {
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
	for _, e := range spared(b) {
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

// keepSpared renews the allows of sessions that are open, and removes those of other sessions,
// until ctx is done. It also reads the guard again after it could not be read.
func (d *Daemon) keepSpared(ctx context.Context) {
	tick := time.NewTicker(spareInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := d.checkSpared(ctx); err != nil && ctx.Err() == nil {
				d.log.Error("allows that spare open sessions cannot be changed and are tried again", "error", err)
			}
		}
	}
}

func (d *Daemon) checkSpared(ctx context.Context) error {
	var held []policy.Entry
	d.engine.Read(func(b *policy.Book) { held = spared(b) })
	if len(held) == 0 && d.guardProblem() == "" {
		return nil
	}
	list, _, err := d.facts.facts(ctx)
	if err != nil || len(held) == 0 {
		return nil // the error was logged; the allows end if it lasts
	}
	open, err := d.openSessions(list, held)
	if err != nil {
		return err
	}
	changes := 0
	d.engine.Read(func(b *policy.Book) {
		ops, _ := d.renewals(b, open)
		changes = len(ops)
	})
	if changes == 0 {
		return nil
	}
	var ended []control.Entry
	err = d.engine.Edit(ctx, func(b *policy.Book) ([]policy.Op, error) {
		ops, removed := d.renewals(b, open)
		ended = d.wireEntries(removed)
		return ops, nil
	})
	if err == nil {
		d.broadcast.announce(control.EventRemoved, ended)
	}
	return err
}

// openSessions returns the addresses of open sessions. A terminal counts only if its peer has an
// allow, which the caller at that terminal got.
func (d *Daemon) openSessions(list []policy.Protected, held []policy.Entry) (map[netip.Prefix]bool, error) {
	open := make(map[netip.Prefix]bool)
	for _, p := range list {
		if p.Session {
			open[p.Prefix] = true
		}
	}
	if !slices.ContainsFunc(held, func(e policy.Entry) bool { return !open[e.Prefix] }) {
		return open, nil
	}
	peers, err := d.host.TerminalPeers()
	for _, a := range peers {
		open[netip.PrefixFrom(a, a.BitLen())] = true
	}
	return open, err
}

// renewals returns the changes that keepSpared makes, and the allows that they remove.
func (d *Daemon) renewals(b *policy.Book, open map[netip.Prefix]bool) (ops []policy.Op, ended []policy.Entry) {
	now := d.engine.Now()
	for _, e := range spared(b) {
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

// noteGuard records and logs whether the guard could be read. It is called after each reading.
func (d *Daemon) noteGuard(err error) {
	was := d.guardProblem()
	d.guardState.set(err)
	switch now := d.guardProblem(); {
	case now == "" && was != "":
		d.log.Info("guard is complete again: detectors act")
	case now != "" && (was == "" || time.Since(d.guardLogged) >= complainEvery):
		d.guardLogged = time.Now()
		d.log.Error("guard is incomplete: detectors take no decisions, and blocks need --force", "error", now)
	}
}

// guardProblem returns why the guard could not be read at the last attempt, or "".
func (d *Daemon) guardProblem() string { return d.guardState.String() }
