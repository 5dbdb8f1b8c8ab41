package control

import (
	"time"

	"github.com/paraxial/paraxial/report"
)

// LogsStatus has the logs of the configuration.
type LogsStatus struct {
	Logs []LogStatus `json:"logs"`
}

// LogStatus is the state of a log: what its reporter tells, and what the configuration says.
type LogStatus struct {
	report.LogState
	Condition LogCondition `json:"condition"`
	Lag       float64      `json:"lag_seconds"` // since all lines were read and handed in; 0 if they are
	Format    string       `json:"format"`      // or patterns
	Rules     []string     `json:"rules"`
	Reporter  string       `json:"reporter"`         // that tells the state; empty if none does
	Told      time.Time    `json:"told_at,omitzero"` // when it told the state
}

// LogCondition tells whether a log is read.
type LogCondition string

// The conditions.
const (
	LogUnknown LogCondition = "unknown" // no reporter has told of it
	LogSilent  LogCondition = "silent"  // the reporter tells nothing any more
	LogFailing LogCondition = "failing" // it cannot be read, or its events wait
	LogBehind  LogCondition = "behind"  // lines wait for longer than a minute
	LogRefused LogCondition = "refused" // the daemon refuses its events, all of the last ones
	LogRead    LogCondition = "read"
)
