package daemon

import (
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
		want       string
	}{
		{nil, "120430 blocks, 3 allows"},
		{list{native}, "protecting eth0 (native); 120430 blocks, 3 allows"},
		{list{native, generic}, "protecting eth0 (native), eth1 (generic); 120430 blocks, 3 allows"},
		{
			list{native, off},
			"NOT protecting eth2: no such interface; protecting eth0 (native); 120430 blocks, 3 allows",
		},
	} {
		if got := summaryOf(tc.interfaces, 120430, 3); got != tc.want {
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
	if !s.alive(time.Second) || s.alive(6*time.Second) {
		t.Error("with a watchdog of 10s, want a ping after a silence of 1s, and none after 6s")
	}
	s.watchdog = 0
	if !s.alive(time.Hour) {
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
