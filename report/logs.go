package report

import (
	"context"
	"maps"
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

	// RefusedInRow counts the events that the daemon has refused since it took one, about.
	RefusedInRow int    `json:"refused_in_row"`
	Refusal      string `json:"refusal"` // why the daemon has refused the last event that it did not count
}

// Logs tells the states of all logs of the reporter.
func (c *Client) Logs(ctx context.Context, states []LogState) error {
	return c.send(ctx, http.MethodPut, "/v1/logs", states)
}

// toldLog is the state of a log, who told it and when it was told.
type toldLog struct {
	LogState
	by string
	at time.Time
}

// tellLogs replaces the states of logs that a reporter told before.
func (b *Board) tellLogs(name string, states []LogState) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of(name)
	maps.DeleteFunc(b.logs, func(_ string, t toldLog) bool { return t.by == name })
	for _, s := range states {
		s.Source, s.Error, s.Refusal = short(s.Source), short(s.Error), short(s.Refusal)
		b.logs[s.Name] = toldLog{s, name, now}
	}
}

// Log returns the state of a log, the reporter that told it and when it did.
func (b *Board) Log(name string) (s LogState, reporter string, at time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.logs[name]
	return t.LogState, t.by, t.at, ok
}

// logs takes the states of logs. One of a log that the reporter does not read is an error.
func (c *call) logs() (any, error) {
	var states []LogState
	leave, err := c.begin(&states)
	if err != nil {
		return nil, err
	}
	defer leave()
	if len(states) > MaxLogs {
		return nil, Errorf(CodeTooLarge, "%d states; at most %d", len(states), MaxLogs)
	}
	for _, s := range states {
		if c.rights.MayTell == nil || !c.rights.MayTell(s.Name) {
			return nil, Errorf(CodeForbidden, "the reporter %s may not tell of the log %.64q: the configuration of "+
				"paraxiald has no such log, or the reporter may not report events for its rules", c.rights.Name, s.Name)
		}
	}
	c.board.tellLogs(c.rights.Name, states)
	return empty{}, nil
}
