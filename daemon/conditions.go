package daemon

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/paraxial/paraxial/metrics"
)

// problem is the text of a problem, empty while there is none.
type problem struct{ text atomic.Pointer[string] }

// set records err, or the end of the problem if err is nil.
func (p *problem) set(err error) {
	text := ""
	if err != nil {
		text = oneLine(err)
	}
	p.text.Store(&text)
}

func (p *problem) String() string {
	if text := p.text.Load(); text != nil {
		return *text
	}
	return ""
}

// oneLine returns the text of an error, which may be of several lines, in one.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// allWarnings returns what an operator should look at.
func (d *Daemon) allWarnings() []string { return append(d.conditions(), d.warnings.list()...) }

// conditions returns the warnings that follow from the present state.
func (d *Daemon) conditions() []string {
	var list []string
	warn := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if s := d.detection.snapshot(); s.Tripped {
		warn("the circuit breaker is open since %s: detectors only add shadow entries: paraxialctl list; "+
			"detection.breaker in the configuration sets when it opens", s.TrippedAt.Format(time.RFC3339))
	}
	list = append(list, wideWarnings(d.wideAllows())...)
	list = append(list, roomWarnings(d.maps())...)
	for _, full := range d.engine.Full() {
		warn("lists can add no more entries: %s; remove entries, or raise max_entries in the configuration and "+
			"run systemctl restart paraxiald", full)
	}
	if err := d.enforcer.noRoom(); err != nil {
		warn("detectors cannot add bans: %v", err)
	}
	if incomplete := d.guardProblem(); incomplete != "" {
		warn("the guard is incomplete, so detectors take no decisions, and blocks need --force: %s; "+
			"journalctl -u paraxiald has the details", incomplete)
	}
	if n := d.enforcer.unsaved.Load(); n > 0 {
		warn("%d bans of detectors are in force, but not saved, and end with a restart; "+
			"df %s shows whether the disk is full", n, d.settings().StateDir)
	}
	if cause := d.saves.String(); cause != "" {
		warn("the last change could not be saved, and was not made: %s; df %s shows whether the disk is full",
			cause, d.settings().StateDir)
	}
	if disk := d.disk.String(); disk != "" {
		warn("the state cannot be saved: %s; df %s shows whether the disk is full", disk, d.settings().StateDir)
	}
	return list
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
