package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/control"
)

var watching = control.DetectorsStatus{
	Enabled: true,
	Detectors: []control.DetectorStatus{
		{Name: "syn-flood", Match: "tcp syn port 443", Limit: "200/s", Window: "5s", IPv4Prefix: 32, IPv6Prefix: 64,
			Action: "limit", For: "10m",
			Decisions: map[string]uint64{"limit": 1234, "shadow": 5}, Extended: 6, Lifted: 7, Spared: 8, NoRoom: 9,
			Entries: 3},
		{Name: "bulk", Match: "any", Limit: "10Mbit/s", Window: "1m", IPv4Prefix: 24, IPv6Prefix: 48, Action: "block",
			For: "1h"},
	},
	Tracked: 1204, Capacity: 65536, Offenders: 12, Entries: 3, MaxEntries: 10000,
	Sampling: control.SamplingStatus{Interval: 64},
}

func TestDetectors(t *testing.T) {
	tables := []string{
		"DETECTOR   LIMIT     WINDOW  PER      ACTION  FOR  MATCH",
		"syn-flood  200/s     5s      /32,/64  limit   10m  tcp syn port 443",
		"bulk       10Mbit/s  1m      /24,/48  block   1h   any",
		"",
		"DETECTOR   LIVE  BLOCK  LIMIT  SHADOW  EXTENDED  LIFTED  SPARED  NO ROOM",
		"syn-flood  3     0      1,234  5       6         7       8       9",
		"bulk       0     0      0      0       0         0       0       0",
		"",
		"sources   1,204 of 65,536 tracked; 12 offenders remembered",
		"entries   3 of 10,000",
	}
	open, closed, busy := watching, watching, watching
	open.Breaker = control.BreakerStatus{Open: true, Since: at(-2 * time.Minute), Trips: 2}
	open.Sampling.Interval = 1
	closed.Breaker = control.BreakerStatus{Since: at(-3 * time.Hour), Trips: 1}
	busy.Sampling = control.SamplingStatus{Interval: 1024, Lost: 90000, Exceeded: true, Refused: 17}
	for _, tt := range []struct {
		name   string
		status control.DetectorsStatus
		want   []string
	}{
		{"calm", watching, append(tables[:10:10],
			"breaker   closed, has never opened",
			"sampling  one packet in 64; 0 samples lost, 0 sources not tracked for lack of room")},
		{"open", open, append(tables[:10:10],
			"breaker   OPEN for 2m: too many bans a minute, so new bans are shadow entries",
			"sampling  every packet; 0 samples lost, 0 sources not tracked for lack of room")},
		{"closed", closed, append(tables[:10:10],
			"breaker   closed for 3h, opened once",
			"sampling  one packet in 64; 0 samples lost, 0 sources not tracked for lack of room")},
		{"busy", busy, append(tables[:10:10],
			"breaker   closed, has never opened",
			"sampling  one packet in 1,024; 90,000 samples lost, 17 sources not tracked for lack of room",
			"warning: more sources at once than detection is designed for; offenders may be found late")},
		{"off", control.DetectorsStatus{}, []string{"Rate analysis is off: the configuration has no detectors."}},
	} {
		got := invoke(t.Context(), serve(t, &fake{detectors: tt.status}), "", "detectors")
		if diff := cmp.Diff(outcome{0, lines(tt.want...), ""}, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.name, diff)
		}
	}
}
