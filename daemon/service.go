package daemon

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/paraxial/paraxial/control"
)

// reportInterval is the time between two reports, unless the watchdog needs them sooner.
const reportInterval = 2 * time.Second

// pulse is the time of the last sign of progress of a loop.
type pulse struct{ last atomic.Pointer[time.Time] }

// beat records progress.
func (p *pulse) beat() {
	now := time.Now()
	p.last.Store(&now)
}

// silence returns the time since the last progress, or 0 before the first.
func (p *pulse) silence() time.Duration {
	if last := p.last.Load(); last != nil {
		return time.Since(*last)
	}
	return 0
}

// stuckAfter is the time after which a loop that waits for other changes or for the disk is
// stuck. A change of millions of entries, or a slow disk, may take minutes.
const stuckAfter = 10 * time.Minute

// service reports the state of the daemon to the service manager. Without pings that kills
// and restarts the daemon. The filter stays in place meanwhile.
type service struct {
	notify   func(state string)
	watchdog time.Duration // how long the service manager waits for a ping; 0 if it expects none
	last     string        // the last status text; used by tellStatus only
}

// every returns the time between two reports.
func (s *service) every() time.Duration {
	if s.watchdog > 0 {
		return min(reportInterval, s.watchdog/2)
	}
	return reportInterval
}

// status sends the text that systemctl status shows, if it has changed.
func (s *service) status(text string) {
	text = strings.ReplaceAll(text, "\n", "; ") // the protocol has one line for each variable
	if text != s.last {
		s.last = text
		s.notify("STATUS=" + text)
	}
}

// alive pings the watchdog, if there is one. It does not ping, and returns false, if the
// loop that never waits has been silent for more than half of the watchdog's time, or one
// that may wait for longer than stuckAfter.
func (s *service) alive(silence, waiting time.Duration) bool {
	if s.watchdog == 0 {
		return true
	}
	if silence > s.watchdog/2 || waiting > stuckAfter {
		return false
	}
	s.notify("WATCHDOG=1")
	return true
}

// feedWatchdog pings the watchdog until ctx is done, as long as the other loops make
// progress. It takes no lock, so no change and no disk can delay a ping.
func (d *Daemon) feedWatchdog(ctx context.Context, s *service) {
	tick := time.NewTicker(s.every())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			d.ping(s)
		}
	}
}

// ping pings the watchdog if all loops make progress.
func (d *Daemon) ping(s *service) {
	attending, detecting, sweeping := d.attending.silence(), d.detecting.silence(), d.sweeping.silence()
	if !s.alive(attending, max(detecting, sweeping)) {
		d.log.Error("the daemon hangs: it sends no more pings, so that the service manager restarts it",
			"interfaces", attending.Round(time.Second), "detectors", detecting.Round(time.Second),
			"expiry", sweeping.Round(time.Second))
	}
}

// tellStatus tells the service manager what the daemon does, until ctx is done. It logs new
// warnings that follow from the present state.
func (d *Daemon) tellStatus(ctx context.Context, s *service) {
	tick := time.NewTicker(attestInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.status(d.summary())
			d.warnOfRoom()
		}
	}
}

// summary returns the text for systemctl status.
func (d *Daemon) summary() string {
	blocks, allows := d.count()
	return summaryOf(d.nics.status(), blocks, allows, d.allWarnings())
}

// summaryOf puts unprotected interfaces first, because the text is one line that may be cut.
// Of the warnings it has the first.
func summaryOf(interfaces []control.InterfaceStatus, blocks, allows int, warnings []string) string {
	var bad, good []string
	for _, i := range interfaces {
		if i.Protected {
			good = append(good, fmt.Sprintf("%s (%s)", i.Name, i.Mode))
		} else {
			bad = append(bad, fmt.Sprintf("%s: %s", i.Name, i.Note))
		}
	}
	var parts []string
	if len(bad) > 0 {
		parts = append(parts, "NOT protecting "+strings.Join(bad, ", "))
	}
	if len(good) > 0 {
		parts = append(parts, "protecting "+strings.Join(good, ", "))
	}
	parts = append(parts, fmt.Sprintf("%d blocks, %d allows", blocks, allows))
	if len(warnings) > 0 {
		parts = append(parts, fmt.Sprintf("warnings: %d, see paraxialctl status: %s", len(warnings), warnings[0]))
	}
	return strings.Join(parts, "; ")
}
