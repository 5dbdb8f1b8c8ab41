package daemon

import (
	"log/slog"
	"strings"
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

// The log says that the filter is in force only where it is.
func TestLogStart(t *testing.T) {
	up, missing := control.InterfaceStatus{Name: "eth0", Protected: true}, control.InterfaceStatus{Name: "eth1"}
	for _, tt := range []struct {
		interfaces []control.InterfaceStatus
		want       string
	}{
		{[]control.InterfaceStatus{up}, `level=INFO msg="filter in force" interfaces=[eth0] took=1s`},
		{[]control.InterfaceStatus{up, missing}, `level=WARN msg="filter in force, but not on all interfaces" ` +
			`interfaces=[eth0] unprotected=[eth1] took=1s`},
		{[]control.InterfaceStatus{missing}, `level=ERROR msg="filter not in force: no interface is protected yet" ` +
			`unprotected=[eth1] took=1s`},
	} {
		var log strings.Builder
		logStart(slog.New(slog.NewTextHandler(&log, nil)), tt.interfaces, time.Second)
		if !strings.HasSuffix(log.String(), tt.want+"\n") {
			t.Errorf("%+v: %s, want %s", tt.interfaces, log.String(), tt.want)
		}
	}
}
