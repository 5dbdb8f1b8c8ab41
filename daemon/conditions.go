package daemon

import (
	"fmt"
	"slices"
	"time"

	"github.com/paraxial/paraxial/metrics"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/warnings"
)

// allWarnings returns what an operator should look at.
func (d *Daemon) allWarnings() []string { return append(d.conditions(), d.warnings.List()...) }

// conditions returns the warnings that follow from the present state.
func (d *Daemon) conditions() []string {
	var list []string
	warn := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if b := d.ladder.Load().Breaker(); b.Open {
		warn("the circuit breaker is open since %s: detectors and rules only add shadow entries: paraxialctl list; "+
			"detection.breaker in the configuration sets when it opens", d.engine.Wall(b.Since).Format(time.RFC3339))
	}
	list = append(list, wideWarnings(d.filteringOff())...)
	list = append(list, roomWarnings(d.maps())...)
	for _, full := range d.engine.Full() {
		warn("lists can add no more entries: %s; remove entries, or raise max_entries in the configuration and "+
			"run systemctl restart paraxiald", full)
	}
	if err := d.enforcer.noRoom(); err != nil {
		warn("detectors and rules cannot add bans: %v", err)
	}
	if incomplete := d.guard.Problem(); incomplete != "" {
		warn("the guard is incomplete, so detectors and rules take no decisions, and blocks need --force: %s; "+
			"journalctl -u paraxiald has the details", incomplete)
	}
	list = append(list, d.guard.Unknown()...)
	if n := d.enforcer.unsaved.Load(); n > 0 {
		warn("%s in force, but not saved, and end with a restart; df %s shows whether the disk is full",
			amount(int(n), "ban of detectors and rules is", "bans of detectors and rules are"), d.settings().StateDir)
	}
	if cause := d.saves.String(); cause != "" {
		warn("the last change could not be saved: %s; commands and lists change nothing, and new bans of detectors "+
			"end with a restart; df %s shows whether the disk is full", cause, d.settings().StateDir)
	}
	if disk := d.disk.String(); disk != "" {
		warn("the state cannot be saved: %s; df %s shows whether the disk is full", disk, d.settings().StateDir)
	}
	return slices.Concat(list, d.settings().Doubts(), d.feedWarnings(time.Now()), d.logWarnings(time.Now()))
}

// tellProblem warns of a problem in the log and in status, or ends the warning if err is nil.
func (d *Daemon) tellProblem(subject, text string, err error) {
	var texts []string
	if err != nil {
		texts = []string{text + warnings.OneLine(err)}
	}
	for _, w := range d.warnings.Set(subject, texts) {
		d.log.Warn(w)
	}
}

// fullPercent is the fill of a map from which on there is a warning.
const fullPercent = 90

// roomWarnings warns of maps that are full or nearly so.
func roomWarnings(maps []metrics.Map) []string {
	var list []string
	for _, m := range maps {
		if m.Capacity == 0 || m.Entries*100 < m.Capacity*fullPercent {
			continue
		}
		state := fmt.Sprintf("is %d%% full", m.Entries*100/m.Capacity)
		if m.Entries >= m.Capacity {
			state = "has no room left, so new entries are refused"
		}
		list = append(list, fmt.Sprintf("the map %s %s (%d of %d): remove entries (paraxialctl unblock), "+
			"or raise max_entries in the configuration and run systemctl restart paraxiald",
			m.Name, state, m.Entries, m.Capacity))
	}
	return list
}

// warnOfRoom logs new warnings of maps that are full.
func (d *Daemon) warnOfRoom() {
	full := roomWarnings(d.maps())
	if len(full) > 0 && !d.fullTold {
		d.log.Warn(full[0])
	}
	d.fullTold = len(full) > 0
}

// maps returns the fill of the maps that hold entries.
func (d *Daemon) maps() []metrics.Map {
	var maps []metrics.Map
	capacity := d.capacity()
	d.engine.Read(func(b *policy.Book) {
		for _, kind := range []policy.Kind{policy.Block, policy.Allow} {
			for _, family := range []policy.Family{policy.IPv4, policy.IPv6} {
				trie := kind.String() + map[policy.Family]string{policy.IPv4: "_v4", policy.IPv6: "_v6"}[family]
				size := b.Size(kind, family)
				maps = append(maps, metrics.Map{Name: trie, Entries: size, Capacity: capacity[trie]})
			}
		}
		maps = append(maps, metrics.Map{Name: "limits", Entries: b.Limits(), Capacity: capacity["limits"]})
	})
	return maps
}
