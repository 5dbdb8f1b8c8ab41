package daemon

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/policy"
)

// warnings are the warnings that status shows.
type warnings struct {
	mu  sync.Mutex
	all []string
}

// set replaces the warnings and returns those that are new.
func (w *warnings) set(all []string) (fresh []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range all {
		if !slices.Contains(w.all, s) {
			fresh = append(fresh, s)
		}
	}
	w.all = all
	return fresh
}

func (w *warnings) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

// watchAddresses checks the blocks at once and after changes of addresses, routes or
// interfaces, until ctx is done.
func (d *Daemon) watchAddresses(ctx context.Context) error {
	return hostinfo.Watch(ctx, func() { d.recheckGuard(ctx) })
}

// recheckGuard warns of blocks that cover protected addresses.
func (d *Daemon) recheckGuard(ctx context.Context) {
	list, _, _ := d.facts.facts(ctx) // the error was logged
	var found []string
	d.engine.Read(func(b *policy.Book) { found = violations(b, list, d.engine.Now()) })
	for _, w := range d.warnings.set(found) {
		d.log.Warn("guard: " + w)
	}
}

// violations returns a warning for each live block that the guard would refuse now. The
// daemon does not lift these blocks: an address that moved is no reason to let an
// attacker in.
func violations(b *policy.Book, protected []policy.Protected, now policy.Deadline) []string {
	const most = 10
	var warnings []string
	for _, p := range protected {
		if p.Session && isAllowed(b, p.Prefix.Addr(), now) {
			continue // spared
		}
		for e := range b.Overlapping(policy.Block, p.Prefix) {
			if e.Action != policy.Drop || e.Forced || !e.Live(now) {
				continue
			}
			if len(warnings) == most {
				return append(warnings, "more blocks cover addresses that must not be blocked")
			}
			warnings = append(warnings, fmt.Sprintf(
				"the block of %s by %s covers %s, %s: paraxialctl unblock %s --origin %s",
				e.Prefix, e.Origin, p.Prefix.Addr(), p.What, e.Prefix, e.Origin))
		}
	}
	return warnings
}
