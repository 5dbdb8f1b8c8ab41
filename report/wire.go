// Package report is the contract between paraxiald and the programs that hand in sets, report
// events, ask and ban, such as paraxial-agent: wire types, and an HTTP/JSON server and client
// over a Unix socket of its own. A reporter has a lesser right than a user of the control socket. The server learns
// from the kernel who calls, and turns everybody away who is no reporter.
package report

import (
	"iter"
	"net/netip"
	"time"
)

// Limits of one request. docs/api.md lists them.
const (
	// MaxSet is the longest set accepted, in bytes.
	MaxSet = 256 << 20
	// MaxChanges is the largest number of prefixes that change in one request.
	MaxChanges = 20_000
	// MaxChangesBody is the longest list of changes accepted, in bytes.
	MaxChangesBody = 8 << 20
	// MaxBody is the longest JSON body accepted, in bytes.
	MaxBody = 1 << 20
	// MaxStates is the largest number of feeds whose states a reporter may tell.
	MaxStates = 64
	// MaxWait is how long a request for a command may wait.
	MaxWait = 30 * time.Second
)

// Entry is a prefix of a set.
type Entry struct {
	Prefix netip.Prefix
	For    time.Duration // how long it stays; 0: as long as the set
	Reason string
}

// Set is the set of a feed, to hand in.
type Set struct {
	Name       string
	Generation uint64
	Accept     bool // an operator has accepted a change that a guard holds
	Entries    iter.Seq2[Entry, error]
}

// Changes are changes of a set that was put.
type Changes struct {
	Name       string
	Generation uint64 // of the set with the changes
	Put        []Entry
	Remove     []netip.Prefix
}

// Result tells how a set was taken.
type Result struct {
	Added     int      `json:"added"`
	Removed   int      `json:"removed"`
	Renewed   int      `json:"renewed"`   // those of Unchanged that end later now
	Unchanged int      `json:"unchanged"` // prefixes that the set had before
	Refused   int      `json:"refused"`   // prefixes that the guard left out
	Notes     []string `json:"notes"`
	Held      string   `json:"held"` // why nothing was changed, until it is accepted; or empty
}

// State is the state of a feed as its reporter tells it. Times that have not come yet are
// left out.
type State struct {
	Name       string    `json:"name"`
	URL        string    `json:"url"` // without user, password and query
	Generation uint64    `json:"generation"`
	Entries    int       `json:"entries"`
	FetchedAt  time.Time `json:"fetched_at,omitzero"` // the last complete body
	CheckedAt  time.Time `json:"checked_at,omitzero"` // the last good answer, from which the ttl counts
	ChangedAt  time.Time `json:"changed_at,omitzero"` // the last change of the set
	NextAt     time.Time `json:"next_at,omitzero"`    // the next request
	EndsAt     time.Time `json:"ends_at,omitzero"`    // the end of the set, unless a good answer comes
	Failures   int       `json:"failures"`            // requests since then that failed
	Error      string    `json:"error"`
	Held       *Held     `json:"held"` // null if nothing is held
	Paused     bool      `json:"paused"`
	Ended      bool      `json:"ended"` // no good answer for the ttl
	Format     string    `json:"format"`
	Notes      []string  `json:"notes"`
	Kept       []Kept    `json:"kept"` // generations on disk, oldest first
}

// Held is a generation that is not applied.
type Held struct {
	Generation uint64 `json:"generation"`
	Reason     string `json:"reason"`
	Added      int    `json:"added"`
	Removed    int    `json:"removed"`
	Entries    int    `json:"entries"`
	Operator   bool   `json:"operator"` // an operator has rolled it back
}

// Kept is a generation on the reporter's disk.
type Kept struct {
	Generation uint64    `json:"generation"`
	Entries    int       `json:"entries"`
	At         time.Time `json:"at"`
}

// Verb is what a command does.
type Verb string

// The verbs.
const (
	Refresh  Verb = "refresh"
	Accept   Verb = "accept"
	Rollback Verb = "rollback"
	Pause    Verb = "pause"
	Resume   Verb = "resume"
	Diff     Verb = "diff"
)

// Command is a command of an operator for a feed.
type Command struct {
	ID         string `json:"id"`
	Verb       Verb   `json:"command"`
	Name       string `json:"name"`
	Generation uint64 `json:"generation"` // of rollback and diff; 0 is the usual one
}

// Answer is the answer to a command.
type Answer struct {
	Text  string `json:"text"`
	Error string `json:"error"` // empty if the command was carried out
}

// renewal is the body of a request to renew a set.
type renewal struct {
	Generation uint64 `json:"generation"`
}
