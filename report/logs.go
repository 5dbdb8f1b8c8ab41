package report

import (
	"context"
	"net/http"
	"time"
)

// MaxLogs is the largest number of logs whose states a reporter may tell.
const MaxLogs = 64

// LogCounts count the lines of a log since its reporter was started or the log was changed.
type LogCounts struct {
	Lines     int `json:"lines"`
	Matched   int `json:"matched"`    // counted for a rule
	Successes int `json:"successes"`  // logins
	Ambiguous int `json:"ambiguous"`  // could be held against two addresses
	NoAddress int `json:"no_address"` // have a name where the address should be
	Proxied   int `json:"proxied"`    // come from a proxy, and name no client that can be trusted
	Unread    int `json:"unread"`     // fit nothing
	TooLong   int `json:"too_long"`
	Refused   int `json:"refused"` // by the daemon
}

// LogState is the state of a log as its reporter tells it.
type LogState struct {
	Name   string `json:"name"`
	Source string `json:"source"`
	LogCounts
	Files       int       `json:"files"`              // that are followed
	BehindBytes int64     `json:"behind_bytes"`       // that are there and not read yet
	LostBytes   int64     `json:"lost_bytes"`         // that were gone before they were read, as far as is known
	Lost        int       `json:"lost"`               // messages of a socket for which there was no room
	Gaps        int       `json:"gaps"`               // how often something may have been lost
	Foreign     int       `json:"foreign"`            // messages of users that do not count
	At          time.Time `json:"at"`                 // of this state
	CaughtUp    time.Time `json:"caught_up,omitzero"` // when all was read and handed in last
	Error       string    `json:"error"`
	Refusal     string    `json:"refusal"` // why the daemon has refused the last event that it did not count
}

// Logs tells the states of all logs of the reporter.
func (c *Client) Logs(ctx context.Context, states []LogState) error {
	return c.send(ctx, http.MethodPut, "/v1/logs", states)
}
