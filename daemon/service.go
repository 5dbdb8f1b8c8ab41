package daemon

import (
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

// service reports the state of the daemon to the service manager. It belongs to housekeep:
// while that loop hangs nothing is reported, and the service manager kills and restarts
// the daemon. The filter stays in place meanwhile.
type service struct {
	notify   func(state string)
	watchdog time.Duration // how long the service manager waits for a ping; 0 if it expects none
	last     string        // the last status text
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

// alive pings the watchdog, if there is one. If a loop has been silent for more than half
// of the watchdog's time, it does not ping and returns false.
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

// summaryOf puts unprotected interfaces first, because the text is one line that may be cut.
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
