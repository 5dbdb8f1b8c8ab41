package daemon

import (
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/report"
)

func TestLogCondition(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		want   control.LogCondition
		told   bool
		change func(*control.LogStatus)
	}{
		{control.LogRead, true, func(*control.LogStatus) {}},
		{control.LogUnknown, false, func(*control.LogStatus) {}},
		{control.LogSilent, true, func(s *control.LogStatus) { s.Told = now.Add(-2 * time.Minute) }},
		{control.LogFailing, true, func(s *control.LogStatus) { s.Error = "x" }},
		{control.LogBehind, true, func(s *control.LogStatus) { s.Lag = 61 }},
		{control.LogRead, true, func(s *control.LogStatus) { s.Lag = 59 }},
		{control.LogRead, true, func(s *control.LogStatus) { s.RefusedInRow = logRefusals - 1 }},
		{control.LogRefused, true, func(s *control.LogStatus) { s.RefusedInRow = logRefusals }},
	} {
		s := control.LogStatus{LogState: report.LogState{Name: "x"}, Told: now.Add(-time.Second)}
		tt.change(&s)
		if got := logCondition(s, tt.told, now); got != tt.want {
			t.Errorf("%+v is %s, want %s", s, got, tt.want)
		}
	}
}
