package daemon

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
)

func TestSummary(t *testing.T) {
	native := control.InterfaceStatus{Name: "eth0", Protected: true, Mode: "native"}
	generic := control.InterfaceStatus{Name: "eth1", Protected: true, Mode: "generic", Note: "slower"}
	off := control.InterfaceStatus{Name: "eth2", Note: "no such interface"}
	type list = []control.InterfaceStatus
	for _, tc := range []struct {
		interfaces list
		warnings   []string
		want       string
	}{
		{nil, nil, "120430 blocks, 3 allows"},
		{list{native}, nil, "protecting eth0 (native); 120430 blocks, 3 allows"},
		{
			list{native},
			[]string{"one", "two"},
			"protecting eth0 (native); 120430 blocks, 3 allows; warnings: 2, see paraxialctl status: one",
		},
		{list{native, generic}, nil, "protecting eth0 (native), eth1 (generic); 120430 blocks, 3 allows"},
		{
			list{native, off},
			nil,
			"NOT protecting eth2: no such interface; protecting eth0 (native); 120430 blocks, 3 allows",
		},
	} {
		if got := summaryOf(tc.interfaces, 120430, 3, tc.warnings); got != tc.want {
			t.Errorf("%v:\n got %s\nwant %s", tc.interfaces, got, tc.want)
		}
	}
}

func TestServiceReportsChanges(t *testing.T) {
	var told []string
	s := service{notify: func(state string) { told = append(told, state) }, watchdog: 10 * time.Second}
	s.status("one")
	s.status("one")
	s.status("two\nlines")
	if !s.alive(time.Second, 9*time.Minute) || s.alive(6*time.Second, 0) || s.alive(0, 11*time.Minute) {
		t.Error("with a watchdog of 10s, want a ping after a silence of 1s and a wait of 9m, " +
			"and none after a silence of 6s or a wait of 11m")
	}
	s.watchdog = 0
	if !s.alive(time.Hour, time.Hour) {
		t.Error("without a watchdog, a silence of an hour is reported")
	}
	if want := []string{"STATUS=one", "STATUS=two; lines", "WATCHDOG=1"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestServicePingsInTime(t *testing.T) {
	for watchdog, want := range map[time.Duration]time.Duration{
		0: reportInterval, time.Minute: reportInterval, time.Second: time.Second / 2,
	} {
		if got := (&service{watchdog: watchdog}).every(); got != want {
			t.Errorf("watchdog %s: every %s, want %s", watchdog, got, want)
		}
	}
}

// A loop that may wait for other changes or for the disk delays no ping. One that never waits does.
func TestPing(t *testing.T) {
	ago := func(p *pulse, d time.Duration) {
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
		d := &Daemon{log: slog.New(slog.DiscardHandler)}
		ago(&d.attending, tc.attending)
		ago(&d.detecting, tc.detecting)
		ago(&d.sweeping, tc.sweeping)
		d.ping(&service{watchdog: time.Minute, notify: func(state string) { pinged = state == "WATCHDOG=1" }})
		if pinged != tc.want {
			t.Errorf("%s: ping %t, want %t", tc.name, pinged, tc.want)
		}
	}
}
