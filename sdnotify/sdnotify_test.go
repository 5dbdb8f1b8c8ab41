package sdnotify

import (
	"log/slog"
	"slices"
	"testing"
	"time"
)

func TestReportsChanges(t *testing.T) {
	var told []string
	m := New(func(state string) { told = append(told, state) }, 10*time.Second)
	m.Status("one")
	m.Status("one")
	m.Status("two\nlines")
	if !m.alive(time.Second, 9*time.Minute) || m.alive(6*time.Second, 0) || m.alive(0, 11*time.Minute) {
		t.Error("with a watchdog of 10s, want a ping after a silence of 1s and a wait of 9m, " +
			"and none after a silence of 6s or a wait of 11m")
	}
	m.watchdog = 0
	if !m.alive(time.Hour, time.Hour) {
		t.Error("without a watchdog, a silence of an hour is reported")
	}
	if want := []string{"STATUS=one", "STATUS=two; lines", "WATCHDOG=1"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestPingsInTime(t *testing.T) {
	for watchdog, want := range map[time.Duration]time.Duration{
		0: reportInterval, time.Minute: reportInterval, time.Second: time.Second / 2,
	} {
		if got := New(nil, watchdog).every(); got != want {
			t.Errorf("watchdog %s: every %s, want %s", watchdog, got, want)
		}
	}
}

// A loop that may wait for other changes or for the disk delays no ping. One that never waits does.
func TestPing(t *testing.T) {
	ago := func(p *Pulse, d time.Duration) {
		at := time.Now().Add(-d)
		p.last.Store(&at)
	}
	for _, tc := range []struct {
		name                           string
		attending, detecting, sweeping time.Duration
		want                           bool
	}{
		{"all make progress", time.Second, time.Second, time.Second, true},
		{"a change takes minutes", time.Second, 5 * time.Minute, 5 * time.Minute, true},
		{"the check of interfaces hangs", 31 * time.Second, time.Second, time.Second, false},
		{"the detectors are stuck", time.Second, 11 * time.Minute, time.Second, false},
		{"expiry is stuck", time.Second, time.Second, 11 * time.Minute, false},
	} {
		pinged := false
		var attending, detecting, sweeping Pulse
		ago(&attending, tc.attending)
		ago(&detecting, tc.detecting)
		ago(&sweeping, tc.sweeping)
		m := New(func(state string) { pinged = state == "WATCHDOG=1" }, time.Minute)
		m.ping(slog.New(slog.DiscardHandler), []Loop{
			{Name: "interfaces", Pulse: &attending},
			{Name: "detectors", Pulse: &detecting, Waits: true},
			{Name: "expiry", Pulse: &sweeping, Waits: true},
		})
		if pinged != tc.want {
			t.Errorf("%s: ping %t, want %t", tc.name, pinged, tc.want)
		}
	}
}
