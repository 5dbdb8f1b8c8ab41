package daemon

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/paraxial/paraxial/policy"
)

// warnings is what the operator should know, as status shows it.
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

// recheckGuard warns of blocks that cover what must not be blocked.
func (d *Daemon) recheckGuard(ctx context.Context) {
	list, _, err := d.facts.facts(ctx)
	if err != nil {
		d.log.Warn("guard is incomplete", "error", err)
	}
	var found []string
	d.engine.Read(func(b *policy.Book) { found = violations(b, list, d.engine.Now()) })
	for _, w := range d.warnings.set(found) {
		d.log.Warn("guard: " + w)
	}
}

// violations lists the blocks in force that the guard would refuse now, as
// warnings for the operator. They are never lifted silently: an address that
// moved is not a reason to let an attacker in.
func violations(b *policy.Book, guard []policy.Protected, now policy.Deadline) []string {
	const most = 10
	var warnings []string
	for _, p := range guard {
		for e := range b.Overlapping(policy.Block, p.Prefix) {
			if e.Action != policy.Drop || e.Forced || !e.Live(now) {
				continue
			}
			if len(warnings) == most {
				return append(warnings, "more blocks cover what must not be blocked")
			}
			warnings = append(warnings, fmt.Sprintf("the block of %s by %s covers %s, %s: paraxialctl unblock %s --origin %s",
				e.Prefix, e.Origin, p.Prefix.Addr(), p.What, e.Prefix, e.Origin))
		}
	}
	return warnings
}
