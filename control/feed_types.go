package control

import (
	"encoding/json"
	"time"

	"github.com/paraxial/paraxial/report"
)

// FeedsStatus has the feeds of the configuration, and who hands in their sets.
type FeedsStatus struct {
	Feeds     []FeedStatus     `json:"feeds"`
	Reporters []ReporterStatus `json:"reporters"`
}

// FeedStatus is the state of a feed: what its reporter tells, and what the daemon has.
type FeedStatus struct {
	report.State
	Condition FeedCondition `json:"condition"`
	Use       string        `json:"use"`
	Every     string        `json:"every"`
	TTL       string        `json:"ttl"`
	InForce   int           `json:"in_force"` // entries
	Reporter  string        `json:"reporter"` // that tells the state; empty if none does
}

// FeedCondition tells how fresh a feed is.
type FeedCondition string

// The conditions.
const (
	FeedUnknown FeedCondition = "unknown" // no reporter has told of it
	FeedWaiting FeedCondition = "waiting" // for the first answer
	FeedFresh   FeedCondition = "fresh"
	FeedStale   FeedCondition = "stale" // no good answer for too long
	FeedHeld    FeedCondition = "held"  // a change waits for an operator
	FeedPaused  FeedCondition = "paused"
	FeedEnded   FeedCondition = "ended" // no good answer for the ttl
)

// ReporterStatus tells whether a reporter is there.
type ReporterStatus struct {
	Name    string    `json:"name"`
	User    string    `json:"user"`
	Present bool      `json:"present"`
	Seen    time.Time `json:"seen,omitzero"` // since the daemon started
}

// FeedAnswer is the answer of a reporter to a command.
type FeedAnswer struct {
	Text string `json:"text"`
}

// OriginsResult has the origins of all entries.
type OriginsResult struct {
	Origins []Origin `json:"origins"`
}

// Origin sums up the entries of one kind and origin.
type Origin struct {
	Origin         string     `json:"origin"`
	Kind           string     `json:"kind"`
	Entries        int        `json:"entries"`
	Drops          uint64     `json:"drops"` // packets
	DropsEstimated bool       `json:"drops_estimated"`
	Changed        time.Time  `json:"changed"`              // when the newest entry was added
	LastExpiry     *time.Time `json:"last_expiry"`          // null: none expires
	Forever        int        `json:"forever"`              // entries that do not expire
	Generation     uint64     `json:"generation,omitempty"` // of the set of a feed, if it is known
}

// MarshalJSON implements json.Marshaler.
func (s FeedsStatus) MarshalJSON() ([]byte, error) {
	type plain FeedsStatus
	s.Feeds = orEmpty(s.Feeds)
	s.Reporters = orEmpty(s.Reporters)
	return json.Marshal(plain(s))
}

// MarshalJSON implements json.Marshaler.
func (r OriginsResult) MarshalJSON() ([]byte, error) {
	type plain OriginsResult
	r.Origins = orEmpty(r.Origins)
	return json.Marshal(plain(r))
}
