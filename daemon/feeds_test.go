package daemon

import (
	"testing"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/report"
)

func TestFeedCondition(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	rolledBack := report.State{CheckedAt: now, Held: &report.Held{Operator: true}}
	f := config.Feed{Every: time.Hour, TTL: 24 * time.Hour}
	for name, tt := range map[string]struct {
		state report.State
		told  bool
		want  control.FeedCondition
	}{
		"nobody tells":        {report.State{CheckedAt: now}, false, control.FeedUnknown},
		"no answer yet":       {report.State{}, true, control.FeedWaiting},
		"never a good answer": {report.State{Failures: 1, Error: "no route"}, true, control.FeedStale},
		"just now":            {report.State{CheckedAt: now}, true, control.FeedFresh},
		"a failure or two":    {report.State{CheckedAt: ago(6 * time.Hour), Failures: 2}, true, control.FeedFresh},
		"a quarter of ttl":    {report.State{CheckedAt: ago(6*time.Hour + time.Second)}, true, control.FeedStale},
		"ended":               {report.State{CheckedAt: ago(25 * time.Hour), Ended: true}, true, control.FeedEnded},
		"paused":              {report.State{CheckedAt: ago(7 * time.Hour), Paused: true}, true, control.FeedPaused},
		"held":                {report.State{CheckedAt: now, Held: &report.Held{}}, true, control.FeedHeld},
		"rolled back":         {rolledBack, true, control.FeedFresh},
	} {
		if got := feedCondition(f, tt.state, tt.told, now); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	f.Every = 3 * time.Hour
	if got := feedCondition(f, report.State{CheckedAt: ago(9 * time.Hour)}, true, now); got != control.FeedFresh {
		t.Errorf("three intervals: %s", got)
	}
}
