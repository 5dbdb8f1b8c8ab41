package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/metrics"
	"github.com/paraxial/paraxial/report"
)

const (
	// logSilence is how old the state of a log may be. The agent tells it every five seconds.
	logSilence = time.Minute
	// logLag is how long lines may wait.
	logLag = time.Minute
	// logRefusals is how many events in a row may be refused. Some of most logs are, such as those
	// of allowed addresses.
	logRefusals = 10
	// patternsFormat is the format of a log with patterns of the user's own.
	patternsFormat = "patterns"
)

// Logs implements control.Backend.
func (d *Daemon) Logs(context.Context) (control.LogsStatus, error) {
	s := control.LogsStatus{Logs: []control.LogStatus{}}
	for _, l := range d.settings().Logs {
		s.Logs = append(s.Logs, d.logStatus(l, time.Now()))
	}
	return s, nil
}

// logStatus puts together what the configuration says of a log and what its reporter tells.
func (d *Daemon) logStatus(l config.LogSource, now time.Time) control.LogStatus {
	state, by, at, told := d.reporting.board.Log(l.Name)
	if !told {
		state = report.LogState{Name: l.Name}
	}
	s := control.LogStatus{LogState: state, Format: l.Format, Rules: l.Rules(), Reporter: by, Told: at}
	if len(l.Patterns) > 0 {
		s.Format = patternsFormat
	}
	if lag := state.At.Sub(state.CaughtUp); told && lag > 0 {
		s.Lag = lag.Seconds()
	}
	s.Condition = logCondition(s, told, now)
	return s
}

// logCondition returns whether a log is read.
func logCondition(s control.LogStatus, told bool, now time.Time) control.LogCondition {
	switch {
	case !told:
		return control.LogUnknown
	case now.Sub(s.Told) > logSilence:
		return control.LogSilent
	case s.Error != "":
		return control.LogFailing
	case s.Lag > logLag.Seconds():
		return control.LogBehind
	case s.RefusedInRow >= logRefusals:
		return control.LogRefused
	}
	return control.LogRead
}

// logWarnings warns of logs that are not read.
func (d *Daemon) logWarnings(now time.Time) (list []string) {
	warn := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	for _, l := range d.settings().Logs {
		s := d.logStatus(l, now)
		switch {
		case s.Condition == control.LogUnknown && now.Sub(d.started) < report.GoneAfter:
		case s.Condition == control.LogUnknown, s.Condition == control.LogSilent:
			warn("nobody tells of the log %s, so it may not be read: systemctl status paraxial-agent-logs", l.Name)
		case s.Condition == control.LogFailing:
			warn("the log %s: %s", l.Name, s.Error)
		case s.Condition == control.LogBehind:
			warn("the log %s is behind by %s: the agent cannot read so many lines, or the daemon cannot take them",
				l.Name, time.Duration(s.Lag*float64(time.Second)).Round(time.Second))
		case s.Condition == control.LogRefused:
			warn("the log %s: the last events were all refused: %s", l.Name, s.Refusal)
		}
	}
	return list
}

// logMetrics returns the logs for the metrics.
func (d *Daemon) logMetrics() (list []metrics.Log) {
	for _, l := range d.settings().Logs {
		s := d.logStatus(l, time.Now())
		list = append(list, metrics.Log{
			Name: l.Name, Up: s.Condition == control.LogRead || s.Condition == control.LogRefused,
			Lag: s.Lag, Lines: s.Lines, Matched: s.Matched,
			Ambiguous: s.Ambiguous, NoAddress: s.NoAddress + s.Proxied, Refused: s.Refused, LostBytes: s.LostBytes,
			Gaps: s.Gaps,
		})
	}
	return list
}
