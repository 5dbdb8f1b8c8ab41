// Package sdnotify reports the state of the daemon to the service manager, in the protocol of
// sd_notify(3).
package sdnotify

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// reportInterval is the time between two pings, unless the watchdog needs them sooner.
const reportInterval = 2 * time.Second

// stuckAfter is the time after which a loop that waits for other changes or for the disk is
// stuck. A change of millions of entries, or a slow disk, may take minutes.
const stuckAfter = 10 * time.Minute

// Manager is the service manager. Without pings it kills and restarts the daemon. The filter
// stays in place meanwhile.
type Manager struct {
	notify   func(state string)
	watchdog time.Duration // how long the service manager waits for a ping; 0 if it expects none
	last     string        // the last status text
}

// New returns the service manager behind notify. watchdog is how long it waits for a ping, 0 if
// it expects none.
func New(notify func(state string), watchdog time.Duration) *Manager {
	return &Manager{notify: notify, watchdog: watchdog}
}

// Ready tells that the daemon has started, or has completed a reload.
func (m *Manager) Ready() { m.notify("READY=1") }

// Stopping tells that the daemon ends.
func (m *Manager) Stopping() { m.notify("STOPPING=1") }

// Reloading tells that a reload begins. Ready ends it.
func (m *Manager) Reloading() {
	m.notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonicMicroseconds()))
}

// monotonicMicroseconds returns the time that the service manager wants with a reload,
// to distinguish it from an earlier one.
func monotonicMicroseconds() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano() / int64(time.Microsecond)
}

// every returns the time between two pings.
func (m *Manager) every() time.Duration {
	if m.watchdog > 0 {
		return min(reportInterval, m.watchdog/2)
	}
	return reportInterval
}

// Status sends the text that systemctl status shows, if it has changed. Only one goroutine may
// call it at a time.
func (m *Manager) Status(text string) {
	text = strings.ReplaceAll(text, "\n", "; ") // the protocol has one line for each variable
	if text != m.last {
		m.last = text
		m.notify("STATUS=" + text)
	}
}

// alive pings the watchdog, if there is one. It does not ping, and returns false, if the
// loop that never waits has been silent for more than half of the watchdog's time, or one
// that may wait for longer than stuckAfter.
func (m *Manager) alive(silence, waiting time.Duration) bool {
	if m.watchdog == 0 {
		return true
	}
	if silence > m.watchdog/2 || waiting > stuckAfter {
		return false
	}
	m.notify("WATCHDOG=1")
	return true
}

// Loop is a loop of the daemon that the watchdog follows.
type Loop struct {
	Name  string // in the log
	Pulse *Pulse
	Waits bool // it may wait for other changes or for the disk
}

// Feed pings the watchdog until ctx is done, as long as all loops make progress. It takes no
// lock, so no change and no disk can delay a ping.
func (m *Manager) Feed(ctx context.Context, log *slog.Logger, loops []Loop) {
	tick := time.NewTicker(m.every())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.ping(log, loops)
		}
	}
}

// ping pings the watchdog if all loops make progress.
func (m *Manager) ping(log *slog.Logger, loops []Loop) {
	var silence, waiting time.Duration
	var each []any
	for _, l := range loops {
		quiet := l.Pulse.Silence()
		if l.Waits {
			waiting = max(waiting, quiet)
		} else {
			silence = max(silence, quiet)
		}
		each = append(each, l.Name, quiet.Round(time.Second))
	}
	if !m.alive(silence, waiting) {
		log.Error("the daemon hangs: it sends no more pings, so that the service manager restarts it", each...)
	}
}
