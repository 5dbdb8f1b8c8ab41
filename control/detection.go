package control

import (
	"encoding/json"
	"time"
)

// Evidence tells why a detector or a rule made an entry.
type Evidence struct {
	Detector string    `json:"detector"` // empty for a rule
	Rate     string    `json:"rate"`     // measured, as policy.ParseRate; empty for a rule
	Limit    string    `json:"limit"`    // empty for a rule
	Window   string    `json:"window"`
	Count    uint64    `json:"count"` // packets or bytes in the window, in the limit's unit; points for a rule
	First    time.Time `json:"first"` // when counting of the source began
	Last     time.Time `json:"last"`
	Ports    []uint16  `json:"ports"`   // some of the destination ports
	Offence  int       `json:"offence"` // 1 for the first offence that is remembered
	Sources  int       `json:"sources"` // distinct offenders in a widened prefix, else 0

	// These are of a rule.
	Rule       string `json:"rule,omitempty"`
	PointLimit int    `json:"point_limit,omitempty"`
	Reporter   string `json:"reporter,omitempty"` // of the last event
	Events     []Seen `json:"events,omitempty"`   // the last ones, the oldest first
}

// Seen is an event that a reporter has told. Hidden characters of its texts are escaped.
type Seen struct {
	Time   time.Time `json:"time"`
	Points int       `json:"points"`
	User   string    `json:"user,omitempty"`
	Path   string    `json:"path,omitempty"`
	Text   string    `json:"text,omitempty"`
	Where  string    `json:"where,omitempty"`
}

// DetectorsStatus is the state of the rate analysis.
type DetectorsStatus struct {
	Enabled    bool             `json:"enabled"`
	Detectors  []DetectorStatus `json:"detectors"`
	Tracked    int              `json:"tracked"`   // sources that are counted exactly
	Capacity   int              `json:"capacity"`  // largest number of tracked sources
	Offenders  int              `json:"offenders"` // remembered
	Entries    int              `json:"entries"`   // of all detectors, live
	MaxEntries int              `json:"max_entries"`
	Breaker    BreakerStatus    `json:"breaker"`
	Sampling   SamplingStatus   `json:"sampling"`
}

// DetectorStatus tells which traffic one detector looks for, and counts its
// decisions since the daemon was started.
type DetectorStatus struct {
	Name       string            `json:"name"`
	Match      string            `json:"match"` // for people: "tcp syn port 443"
	Limit      string            `json:"limit"`
	Window     string            `json:"window"`
	IPv4Prefix int               `json:"ipv4_prefix"` // length of the prefix that counts as one source
	IPv6Prefix int               `json:"ipv6_prefix"`
	Action     string            `json:"action"` // block, limit or shadow
	For        string            `json:"for"`
	Decisions  map[string]uint64 `json:"decisions"` // by action
	Extended   uint64            `json:"extended"`
	Lifted     uint64            `json:"lifted"` // removed to make room for newer ones
	Spared     uint64            `json:"spared"` // above the limit but exempt
	Entries    int               `json:"entries"`
	NoRoom     uint64            `json:"no_room"` // above the limit, and without room for an entry
}

// BreakerStatus is the state of the circuit breaker. While it is open, sources that
// would be blocked are only counted.
type BreakerStatus struct {
	Open  bool       `json:"open"`
	Since *time.Time `json:"since"` // null: it has never opened
	Trips uint64     `json:"trips"`
}

// SamplingStatus describes how the packet program picks the sources that are counted exactly.
type SamplingStatus struct {
	Interval uint32 `json:"interval"` // one packet in so many
	Lost     uint64 `json:"lost"`     // samples that were not read in time
	Exceeded bool   `json:"exceeded"` // there are more spoofed sources than detection is designed for
	Refused  uint64 `json:"refused"`  // sources that should be tracked, but for which there was no room
}

// TopResult lists the tracked sources, the one nearest to a limit first.
type TopResult struct {
	Time    time.Time   `json:"time"`
	Sources []TopSource `json:"sources"`
}

// TopSource is one source.
type TopSource struct {
	Source  string            `json:"source"`  // a prefix
	Packets float64           `json:"packets"` // a second; 0 if not known
	Bytes   float64           `json:"bytes"`
	Rates   map[string]string `json:"rates"`   // by detector, as policy.ParseRate
	Share   float64           `json:"share"`   // of the limit that it is nearest to; 1 means at the limit
	Nearest string            `json:"nearest"` // the detector of that limit
	Verdict string            `json:"verdict"` // pass, drop, limit or shadow
	Since   time.Time         `json:"since"`   // when tracking began
	Ports   []uint16          `json:"ports"`
	Tags    []string          `json:"tags"` // the sets that have all of the source
}

// MarshalJSON implements json.Marshaler.
func (v Evidence) MarshalJSON() ([]byte, error) {
	type plain Evidence
	v.Ports = orEmpty(v.Ports)
	return json.Marshal(plain(v))
}

// MarshalJSON implements json.Marshaler.
func (s DetectorsStatus) MarshalJSON() ([]byte, error) {
	type plain DetectorsStatus
	s.Detectors = orEmpty(s.Detectors)
	return json.Marshal(plain(s))
}

// MarshalJSON implements json.Marshaler.
func (s DetectorStatus) MarshalJSON() ([]byte, error) {
	type plain DetectorStatus
	if s.Decisions == nil {
		s.Decisions = map[string]uint64{}
	}
	return json.Marshal(plain(s))
}

// MarshalJSON implements json.Marshaler.
func (r TopResult) MarshalJSON() ([]byte, error) {
	type plain TopResult
	r.Sources = orEmpty(r.Sources)
	return json.Marshal(plain(r))
}

// MarshalJSON implements json.Marshaler.
func (s TopSource) MarshalJSON() ([]byte, error) {
	type plain TopSource
	s.Ports, s.Tags = orEmpty(s.Ports), orEmpty(s.Tags)
	if s.Rates == nil {
		s.Rates = map[string]string{}
	}
	return json.Marshal(plain(s))
}
