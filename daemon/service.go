package daemon

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/paraxial/paraxial/control"
)

// pulse tells when something was last seen to get on.
type pulse struct{ last atomic.Pointer[time.Time] }

func (p *pulse) beat() {
	now := time.Now()
	p.last.Store(&now)
}

// silence is how long ago that was.
func (p *pulse) silence() time.Duration {
	if last := p.last.Load(); last != nil {
		return time.Since(*last)
	}
	return 0
}

// service tells the service manager how the daemon is. It belongs to the loop of
// housekeeping: while that hangs nothing is told, and the service manager ends
// the daemon and starts it anew. The filter is in place meanwhile.
type service struct {
	notify   func(state string)
	watchdog time.Duration // how long the service manager puts up with silence; 0 if for ever
	said     string
}

// every is how often to report.
func (s *service) every() time.Duration {
	if s.watchdog > 0 {
		return min(attestInterval, s.watchdog/2)
	}
	return attestInterval
}

// status tells what systemctl status shows, if that has changed.
func (s *service) status(text string) {
	text = strings.ReplaceAll(text, "\n", "; ") // a line each is what it takes
	if text != s.said {
		s.said = text
		s.notify("STATUS=" + text)
	}
}

// alive pings the watchdog, unless what has to get on was silent for too long.
func (s *service) alive(silence time.Duration) bool {
	if s.watchdog == 0 {
		return true
	}
	if silence > s.watchdog/2 {
		return false
	}
	s.notify("WATCHDOG=1")
	return true
}

// report tells the service manager that housekeeping gets on, and how all is.
func (d *Daemon) report(s *service) {
	s.status(d.summary())
	if !s.alive(d.detecting.silence()) {
		d.log.Error("the detectors stand still: the service manager is left to restart the daemon", "since", d.detecting.silence().Round(time.Second))
	}
}

func (d *Daemon) summary() string {
	blocks, allows := d.count()
	return summaryOf(d.nics.status(), blocks, allows)
}

// summaryOf says first what is wrong: there is one line, and it may be cut.
func summaryOf(interfaces []control.InterfaceStatus, blocks, allows int) string {
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
	return strings.Join(append(parts, fmt.Sprintf("%d blocks, %d allows", blocks, allows)), "; ")
}
