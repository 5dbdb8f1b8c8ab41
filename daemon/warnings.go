package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/policy"
)

// warnings are the warnings that were found last, by subject.
type warnings struct {
	mu  sync.Mutex
	all map[string][]string
}

// set replaces the warnings about a subject and returns those that are new.
func (w *warnings) set(subject string, all []string) (fresh []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range all {
		if !slices.Contains(w.all[subject], s) {
			fresh = append(fresh, s)
		}
	}
	if w.all == nil {
		w.all = make(map[string][]string)
	}
	w.all[subject] = all
	return fresh
}

// list returns the warnings about all subjects.
func (w *warnings) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, subject := range slices.Sorted(maps.Keys(w.all)) {
		list = append(list, w.all[subject]...)
	}
	return list
}

// watchAddresses checks the blocks at once and after changes of addresses, routes or
// interfaces, until ctx is done.
func (d *Daemon) watchAddresses(ctx context.Context) error {
	return hostinfo.Watch(ctx, func() {
		d.recheckGuard(ctx)
		d.recheckBridges()
	})
}

// watchServers checks the blocks after changes of servers and tunnels, until ctx is done.
func (d *Daemon) watchServers(ctx context.Context) error {
	return d.host.WatchServers(ctx, func() { d.recheckGuard(ctx) })
}

// warnOfUnknown warns of servers and tunnels whose addresses cannot be read.
func (d *Daemon) warnOfUnknown(problems []string) {
	var found []string
	for _, p := range problems {
		found = append(found, fmt.Sprintf("the guard lacks addresses, so a block may cover them: %s; "+
			"put them into guard.never_block in the configuration", strings.ReplaceAll(p, "\n", "; ")))
	}
	for _, w := range d.warnings.set("unknown", found) {
		d.log.Warn(w)
	}
}

// recheckBridges warns of interfaces that are bridges.
func (d *Daemon) recheckBridges() {
	var found []string
	for _, n := range d.nics.list() {
		ports, err := hostinfo.BridgePorts(n.name)
		if err != nil {
			d.log.Warn("cannot find out whether an interface is a bridge", "error", err)
		}
		if len(ports) > 0 {
			found = append(found, fmt.Sprintf("%s is a bridge: packets that it forwards between its ports (%s) pass "+
				"without the filter: filter the ports instead: paraxialctl doctor %s",
				n.name, strings.Join(ports, ", "), n.name))
		}
	}
	for _, w := range d.warnings.set("bridges", found) {
		d.log.Warn(w)
	}
}

// warnOfRoom logs new warnings of maps that are full.
func (d *Daemon) warnOfRoom() {
	full := roomWarnings(d.maps())
	if len(full) > 0 && !d.fullTold {
		d.log.Warn(full[0])
	}
	d.fullTold = len(full) > 0
}

// recheckGuard warns of blocks that cover protected addresses.
func (d *Daemon) recheckGuard(ctx context.Context) {
	d.host.Mark()
	list, _, _ := d.facts.facts(ctx) // the error was logged
	var found []string
	d.engine.Read(func(b *policy.Book) { found = violations(b, list, d.engine.Now()) })
	for _, w := range d.warnings.set("blocks", found) {
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
