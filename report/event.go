package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// Limits of events, verdicts and bans. docs/api.md lists them.
const (
	// MaxEvents is the largest number of events in a request.
	MaxEvents = 1000
	// MaxVerdicts is the largest number of addresses in a request for verdicts.
	MaxVerdicts = 1000
	// MaxEventText is the length at which each text of an event is cut, in bytes.
	MaxEventText = 256
	// MaxPoints is the largest number of points of one event.
	MaxPoints = 1000
	// MaxLine is the longest line of a stream, in bytes.
	MaxLine = 16 << 10
)

// Event is what a reporter has seen of a source. The daemon only compares User and Path, and
// quotes the other texts.
type Event struct {
	Address netip.Addr `json:"address"`
	Rule    string     `json:"rule"`
	Points  int        `json:"points,omitzero"` // 0 counts as 1
	User    string     `json:"user,omitzero"`   // the name that the source gave
	Path    string     `json:"path,omitzero"`   // the path that the source asked for
	Time    time.Time  `json:"time,omitzero"`   // when it happened; zero: now
	Success bool       `json:"success,omitzero"`
	End     bool       `json:"end,omitzero"`   // of a connection, whose failures may have been events of their own
	Text    string     `json:"text,omitzero"`  // the line or a description
	Where   string     `json:"where,omitzero"` // file and offset, or journal cursor
}

// Refusal is an event that was not counted.
type Refusal struct {
	Line    int    `json:"line"` // of the request, from 1
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Taken tells how events were taken.
type Taken struct {
	Accepted int       `json:"accepted"`
	Refused  []Refusal `json:"refused"`
}

// Verdict tells what happens to the packets of an address.
type Verdict struct {
	Address netip.Addr `json:"address"`
	Verdict string     `json:"verdict"`         // pass, drop, limit or shadow
	Origin  string     `json:"origin"`          // of the entry that decides; empty without one
	Until   time.Time  `json:"until,omitzero"`  // the end of that entry; zero: it has none
	Points  int        `json:"points,omitzero"` // in the window of the rule, after a question that counts
	Limit   int        `json:"limit,omitzero"`  // of the rule
	Tags    []string   `json:"tags"`            // of the sets that contain the address
}

// Ban asks for a block of an address or prefix.
type Ban struct {
	Prefix netip.Prefix
	For    time.Duration
	Reason string
}

// wireBan is a Ban on the wire.
type wireBan struct {
	Address string `json:"address"` // or a prefix
	For     string `json:"for"`
	Reason  string `json:"reason,omitzero"`
}

// MarshalJSON implements json.Marshaler.
func (b Ban) MarshalJSON() ([]byte, error) {
	seconds := int64((b.For + time.Second - 1) / time.Second)
	return json.Marshal(wireBan{b.Prefix.String(), strconv.FormatInt(seconds, 10) + "s", b.Reason})
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *Ban) UnmarshalJSON(data []byte) error {
	var w wireBan
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	p, _, err := policy.ParsePrefix(w.Address)
	if err != nil {
		return fmt.Errorf("address: %w", err)
	}
	d, err := policy.ParseTTL(w.For)
	switch {
	case w.For == "":
		return errors.New("for: missing; say how long the ban lasts, as in 1h")
	case err != nil:
		return fmt.Errorf("for: %w", err)
	}
	*b = Ban{Prefix: p, For: d, Reason: visible(w.Reason[:min(len(w.Reason), MaxEventText)])}
	return nil
}
