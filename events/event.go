package events

import (
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// Event is what a reporter has seen of a source.
type Event struct {
	Address  netip.Addr
	Rule     string
	Reporter string          // who tells it
	Points   int             // 0 counts as 1
	At       policy.Deadline // when it happened, in boot time; see Counter.Add
	Success  bool
	End      bool // of a connection, whose failures may have been events of their own
	User     string
	Path     string
	Text     string // the line or a description
	Where    string // file and offset, or journal cursor
}

// Result is what became of an event. Metrics and the answers to reporters use the same words.
type Result string

// The results.
const (
	Counted     Result = "counted"
	Banned      Result = "banned"       // it exceeded the limit, and there is an entry now
	Alerted     Result = "alerted"      // it exceeded the limit of a rule that only tells
	Held        Result = "held"         // the source is under an entry of the rule already
	Ended       Result = "ended"        // the end of a connection whose failures have counted
	Succeeded   Result = "success"      // it tells of a success, and nothing was counted
	Old         Result = "old"          // a ban from its time on would be over
	NoRoom      Result = "no_room"      // it exceeded the limit, and there is no room for an entry
	UnknownRule Result = "unknown_rule" // there is no such rule
	Invalid     Result = "invalid"      // the address or the points are not valid
	Bogon       Result = "bogon"        // the address is not one of the public Internet
	OwnAddress  Result = "own_address"  // the guard protects the address
	Proxy       Result = "proxy"        // the address belongs to a proxy
	Allowed     Result = "allowed"      // an allow covers the address

	// Future is counted beside another result, for an event whose time was in the future.
	Future Result = "future"
	// These are for events that a reporter may not hand in.
	Forbidden Result = "forbidden" // the reporter has no right to report to the rule
	Budget    Result = "budget"    // the reporter hands in too many
	Unproven  Result = "unproven"  // there is no connection as proof
)

// Results returns all results.
func Results() []Result {
	return []Result{
		Counted, Banned, Alerted, Held, Succeeded, Ended, Old, NoRoom, UnknownRule, Invalid, Bogon, OwnAddress, Proxy,
		Allowed, Future, Forbidden, Budget, Unproven,
	}
}

// Refused reports whether the event was not counted for its rule.
func (r Result) Refused() bool {
	switch r {
	case UnknownRule, Invalid, Bogon, OwnAddress, Proxy, Allowed, Old, Forbidden, Budget, Unproven:
		return true
	}
	return false
}

// Outcome is what became of an event.
type Outcome struct {
	Result Result
	Future bool         // its time was in the future, and was taken as now
	Source netip.Prefix // that it counted for; zero if it was refused
	Points int          // of the source in the window, the event included
	Limit  int          // of the rule
	// Action and Until are of the entry that the source has by this rule. Action is empty
	// without one.
	Action Action
	Until  policy.Deadline
	// Decisions are valid until the next call of the Counter.
	Decisions []Decision
}

// Decision is a change of an entry, with the reason for it.
type Decision struct {
	Kind     ladder.Kind // Made or Lifted
	Rule     string
	Prefix   netip.Prefix // masked and unmapped
	Action   Action       // never empty; Alert makes no entry
	Tripped  bool         // Action is Shadow because the circuit breaker is open
	Rate     policy.Rate  // of a limit
	For      time.Duration
	Until    policy.Deadline // For after the event
	Evidence Evidence
}

// Evidence is what was counted of a source when a decision was made.
type Evidence struct {
	Points   int
	Limit    int
	Window   time.Duration
	First    policy.Deadline // time of the first and of the last event that counted
	Last     policy.Deadline
	Offence  int // number of this offence; 1 is the first one remembered
	Sources  int // number of offenders in a widened prefix, otherwise 0
	Reporter string
	Seen     []Seen // the last events, the oldest first
}

// Seen is an event as evidence. Its texts are cut, and as the reporter gave them: they may hold
// any bytes.
type Seen struct {
	At     policy.Deadline
	Points int
	User   string
	Path   string
	Text   string
	Where  string
}
