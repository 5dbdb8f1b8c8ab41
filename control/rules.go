package control

import (
	"context"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// RulesStatus is the state of the rules over events.
type RulesStatus struct {
	Rules      []RuleStatus  `json:"rules"`
	Entries    int           `json:"entries"`     // of all rules, live
	MaxEntries int           `json:"max_entries"` // of rules and detectors together
	Memory     int           `json:"memory"`      // of the sources that are counted, in bytes
	MaxMemory  int           `json:"max_memory"`
	Breaker    BreakerStatus `json:"breaker"` // shared with the detectors
}

// RuleStatus tells what one rule looks for, and what became of the events.
type RuleStatus struct {
	Name        string            `json:"name"`
	Limit       int               `json:"limit"` // points
	Window      string            `json:"window"`
	IPv4Prefix  int               `json:"ipv4_prefix"` // length of the prefix that counts as one source
	IPv6Prefix  int               `json:"ipv6_prefix"`
	Distinct    string            `json:"distinct,omitempty"` // user or path
	Success     string            `json:"success"`            // ignore or reset
	Action      string            `json:"action"`             // block, limit, shadow or alert
	Rate        string            `json:"rate,omitempty"`     // of limit
	For         string            `json:"for"`
	Events      map[string]uint64 `json:"events"` // by result
	Sources     int               `json:"sources"`
	Entries     int               `json:"entries"`
	Evicted     uint64            `json:"evicted"`     // sources that were forgotten to bound the memory
	Ineffective int               `json:"ineffective"` // bans whose source goes on
	// Nearest are the sources with the most points, if one rule was asked for.
	Nearest []RuleSource `json:"nearest,omitempty"`
}

// RuleSource is what is counted of a source.
type RuleSource struct {
	Rule   string    `json:"rule"`
	Source string    `json:"source"` // a prefix
	Points int       `json:"points"`
	Limit  int       `json:"limit"`
	Last   time.Time `json:"last"` // time of the last event
}

// ForgiveRequest asks to forget what is held against an address.
type ForgiveRequest struct {
	Address string `json:"address"`
	Unblock bool   `json:"unblock,omitempty"` // also remove the entries of rules and detectors that cover it
}

// Forgiveness is a ForgiveRequest as it reaches the backend.
type Forgiveness struct {
	Address netip.Addr
	Unblock bool
}

// ForgiveResult tells what was held against an address.
type ForgiveResult struct {
	Address      string        `json:"address"`
	Counts       []RuleSource  `json:"counts"`
	Offences     []PastOffence `json:"offences"`
	Removed      []Entry       `json:"removed"`
	StillBlocked []Entry       `json:"still_blocked"` // blocks in force that cover it
}

// PastOffence is the record of a repeat offender.
type PastOffence struct {
	Origin   string `json:"origin"`
	Prefix   string `json:"prefix"`
	Offences int    `json:"offences"`
}

func (r *ForgiveRequest) parse(Caller) (Forgiveness, error) {
	if err := checkWord("address", r.Address); err != nil {
		return Forgiveness{}, err
	}
	addr, err := policy.ParseAddr(r.Address)
	if err != nil {
		return Forgiveness{}, invalid("address: %v", err)
	}
	return Forgiveness{Address: addr, Unblock: r.Unblock}, nil
}

// rules answers with the state of all rules, or of the one that the query names.
func (c *call) rules() error {
	if err := knownParameters(c.query, "name"); err != nil {
		return err
	}
	name := c.query.Get("name")
	if name != "" && policy.ValidOrigin(policy.OriginRule+name) != nil {
		return invalid("name: %.128q is not the name of a rule", name)
	}
	return sendResult(c, func(ctx context.Context) (RulesStatus, error) { return c.backend.Rules(ctx, name) })
}

// MarshalJSON implements json.Marshaler.
func (s RulesStatus) MarshalJSON() ([]byte, error) {
	type plain RulesStatus
	s.Rules = orEmpty(s.Rules)
	return json.Marshal(plain(s))
}

// MarshalJSON implements json.Marshaler.
func (s RuleStatus) MarshalJSON() ([]byte, error) {
	type plain RuleStatus
	if s.Events == nil {
		s.Events = map[string]uint64{}
	}
	return json.Marshal(plain(s))
}

// MarshalJSON implements json.Marshaler.
func (r ForgiveResult) MarshalJSON() ([]byte, error) {
	type plain ForgiveResult
	r.Counts, r.Offences = orEmpty(r.Counts), orEmpty(r.Offences)
	r.Removed, r.StillBlocked = orEmpty(r.Removed), orEmpty(r.StillBlocked)
	return json.Marshal(plain(r))
}
