package control

import (
	"encoding/json"
	"time"
)

// Limits of one request. They are part of the contract, and docs/api.md lists them.
const (
	// MaxBody is the longest JSON body accepted, in bytes.
	MaxBody = 1 << 20
	// MaxList is the longest list that Import accepts, in bytes.
	MaxList = 256 << 20
	// MaxPrefixes is the largest number of prefixes in one request. Import takes
	// more.
	MaxPrefixes = 10_000
)

// The defaults of the socket and of the group that may use it.
const (
	DefaultSocket = "/run/paraxial/paraxiald.sock"
)

// Entry is an entry of the book in the form that the API returns.
type Entry struct {
	Prefix         string     `json:"prefix"`
	Kind           string     `json:"kind"`           // block or allow
	Action         string     `json:"action"`         // drop, limit or shadow; empty for allow
	Rate           string     `json:"rate,omitempty"` // of limit, as policy.ParseRate
	Origin         string     `json:"origin"`
	Reason         string     `json:"reason"`
	Author         string     `json:"author"` // "uid:1000"
	Created        time.Time  `json:"created"`
	Expires        *time.Time `json:"expires"` // null: never
	Drops          uint64     `json:"drops"`   // packets
	DropsEstimated bool       `json:"drops_estimated"`
	DropsCountedBy string     `json:"drops_counted_by,omitempty"` // the origin whose entry of the prefix has them
	Pending        *Pending   `json:"pending"`                    // null unless it waits for confirm
	Forced         bool       `json:"forced,omitempty"`
	Evidence       *Evidence  `json:"evidence,omitempty"` // of a detector or rule
	Tags           []string   `json:"tags,omitempty"`     // the sets that have all of the prefix
	Replies        string     `json:"replies,omitempty"`  // pass: answers to connections of this host pass
}

// Pending belongs to an entry that ends at ConfirmBy unless it is confirmed. If it
// is confirmed, it ends at Expires.
type Pending struct {
	ID        string     `json:"id"`
	ConfirmBy time.Time  `json:"confirm_by"`
	Expires   *time.Time `json:"expires"` // null: never
}

// Status is the state of the daemon.
type Status struct {
	Version    string            `json:"version"`
	PID        int               `json:"pid"`
	Started    time.Time         `json:"started"`
	Interfaces []InterfaceStatus `json:"interfaces"`
	Blocks     int               `json:"blocks"`
	Allows     int               `json:"allows"`
	Warnings   []string          `json:"warnings"`
	// Tunnels are those that the filter looks into, as in the configuration.
	Tunnels []string `json:"tunnels,omitempty"`
	// UnseenTunnels are the tunnels of this host that it does not look into.
	UnseenTunnels []Tunnel `json:"unseen_tunnels,omitempty"`
	StateDir      string   `json:"state_dir,omitempty"` // has the state of the daemon
	BPFFS         string   `json:"bpffs,omitempty"`     // has the pins of the filter
}

// Tunnel is an interface of a tunnel.
type Tunnel struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // as ip -d link shows it: gre, vxlan, wireguard, …
}

// InterfaceStatus shows whether packets of one interface are filtered.
type InterfaceStatus struct {
	Name      string `json:"name"`
	Mode      string `json:"mode"` // native or generic; empty while off
	Protected bool   `json:"protected"`
	ProgramID uint32 `json:"program_id"`
	Note      string `json:"note,omitempty"` // why it is not protected, or a warning
}

// Stats holds the packet counters.
type Stats struct {
	Interfaces []InterfaceStats `json:"interfaces"`
}

// InterfaceStats counts what one interface received since it was attached.
type InterfaceStats struct {
	Name    string             `json:"name"`
	Packets uint64             `json:"packets"`
	Bytes   uint64             `json:"bytes"`
	Reasons map[string]Counter `json:"reasons"`
}

// Counter counts packets and their bytes.
type Counter struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// BlockRequest asks to block prefixes.
type BlockRequest struct {
	Prefixes []string `json:"prefixes"`
	Action   string   `json:"action,omitempty"` // drop (default), limit or shadow
	Rate     string   `json:"rate,omitempty"`   // of limit, as policy.ParseRate
	For      string   `json:"for,omitempty"`    // as policy.ParseTTL; empty: forever
	Reason   string   `json:"reason,omitempty"`
	Origin   string   `json:"origin,omitempty"`  // default api:UID
	Confirm  string   `json:"confirm,omitempty"` // revert after this unless confirmed
	Force    bool     `json:"force,omitempty"`   // override the guard
	Replace  bool     `json:"replace,omitempty"` // also a stronger or longer block of the origin
	Replies  string   `json:"replies,omitempty"` // pass: answers to connections of this host pass; drop (default)
}

// AllowRequest asks to let prefixes pass, even if they are blocked.
type AllowRequest struct {
	Prefixes []string `json:"prefixes"`
	For      string   `json:"for,omitempty"` // as policy.ParseTTL; empty: forever
	Reason   string   `json:"reason,omitempty"`
	Origin   string   `json:"origin,omitempty"`  // default api:UID
	Force    bool     `json:"force,omitempty"`   // also prefixes that turn filtering off for much
	Replace  bool     `json:"replace,omitempty"` // also a longer allow of the origin
}

// FlushRequest asks to remove all entries of an origin.
type FlushRequest struct {
	Origin string `json:"origin"`
	Kind   string `json:"kind,omitempty"`    // block or allow; empty: both
	DryRun bool   `json:"dry_run,omitempty"` // only count them
}

// FlushResult counts the entries that were removed, or would be.
type FlushResult struct {
	Origin string   `json:"origin"`
	Blocks int      `json:"blocks"`
	Allows int      `json:"allows"`
	Notes  []string `json:"notes,omitempty"`
}

// Allowed is a prefix that an allow covers, so that its packets pass whatever blocks it.
type Allowed struct {
	Prefix string `json:"prefix"`
	By     Entry  `json:"by"`
}

// UnblockRequest asks to remove the blocks that have exactly these prefixes,
// of one origin or of all.
type UnblockRequest struct {
	Prefixes []string `json:"prefixes"`
	Origin   string   `json:"origin,omitempty"` // default api:UID; not with All
	All      bool     `json:"all,omitempty"`
}

// UnallowRequest asks to remove the allows that have exactly these prefixes,
// of one origin or of all.
type UnallowRequest struct {
	Prefixes []string `json:"prefixes"`
	Origin   string   `json:"origin,omitempty"` // default api:UID; not with All
	All      bool     `json:"all,omitempty"`
	Force    bool     `json:"force,omitempty"` // also those that spare sessions; sessions may be cut
}

// PromoteRequest asks to change shadow entries with exactly these prefixes, of one origin, to drop.
type PromoteRequest struct {
	Prefixes []string `json:"prefixes"`
	Origin   string   `json:"origin,omitempty"` // default api:UID; any may be named
	Force    bool     `json:"force,omitempty"`  // override the guard
}

// ConfirmRequest asks to keep the entries of a request with Confirm. An empty ID
// means the only request that waits to be confirmed.
type ConfirmRequest struct {
	ID string `json:"id,omitempty"`
}

// ChangeResult is the result of block, allow, promote and confirm.
type ChangeResult struct {
	Entries   []Entry    `json:"entries"`  // in force now
	Kept      []Entry    `json:"kept"`     // those of Entries that stay as they were, being stronger or longer
	Replaced  []Entry    `json:"replaced"` // stronger or longer entries that are not in force any more
	Allowed   []Allowed  `json:"allowed"`  // the blocked prefixes whose packets pass all the same
	Notes     []string   `json:"notes"`    // such as: host bits were cleared
	ConfirmID string     `json:"confirm_id,omitempty"`
	ConfirmBy *time.Time `json:"confirm_by,omitempty"`
	Beside    []Entry    `json:"beside,omitempty"` // in force until Entries are confirmed, and without that
}

// RemoveResult is the result of unblock and unallow.
type RemoveResult struct {
	Removed      []Entry  `json:"removed"`
	StillBlocked []Entry  `json:"still_blocked"` // blocks that still match the prefixes
	Notes        []string `json:"notes"`
}

// WhyResult shows what happens to packets from one address, and which entries cause it.
type WhyResult struct {
	Address string  `json:"address"`
	Verdict string  `json:"verdict"` // pass, drop, limit or shadow
	Reason  string  `json:"reason"`  // name of the packet counter
	Matched []Entry `json:"matched"`
	// Tags are the names of the sets that have the address.
	Tags         []string `json:"tags"`
	CheckedBy    string   `json:"checked_by"`             // kernel or model
	Disagreement string   `json:"disagreement,omitempty"` // kernel and model differ: a defect
	// EssentialRate is the number of essential packets a second, such as DHCP, that pass on each
	// interface although an entry would drop them. 0: none.
	EssentialRate int `json:"essential_rate,omitempty"`
	// Replies is "pass" if the entries drop or limit only packets that are no answer to a connection
	// that this host opened.
	Replies string `json:"replies,omitempty"`
	// UnseenTunnels are the tunnels of this host that the filter does not look into, so that
	// packets from the source pass there although an entry drops or limits it.
	UnseenTunnels []Tunnel `json:"unseen_tunnels,omitempty"`
	// Ineffective says why a ban has no effect although it is in force, and the way out.
	Ineffective string `json:"ineffective,omitempty"`
}

// The types of events.
const (
	EventAdded     = "added"
	EventRemoved   = "removed"
	EventExpired   = "expired"
	EventImported  = "imported"
	EventFlushed   = "flushed"
	EventDrop      = "drop"
	EventShadow    = "shadow"
	EventInterface = "interface"
	EventAlert     = "alert"
	EventLost      = "lost"
)

// Event is one line of watch. Type determines which of the other fields are set.
type Event struct {
	Time      time.Time        `json:"time"`
	Type      string           `json:"type"`
	Entry     *Entry           `json:"entry,omitempty"`     // added, removed, expired
	Import    *ImportSummary   `json:"import,omitempty"`    // imported
	Flush     *FlushResult     `json:"flush,omitempty"`     // flushed
	Packet    *Packet          `json:"packet,omitempty"`    // drop, shadow
	Interface *InterfaceStatus `json:"interface,omitempty"` // interface
	Alert     *Alert           `json:"alert,omitempty"`     // alert
	Count     uint64           `json:"count,omitempty"`     // lost: events not sent
}

// Alert tells of a source above the limit of a rule that only tells.
type Alert struct {
	Source   string    `json:"source"` // a prefix
	Evidence *Evidence `json:"evidence"`
}

// ImportSummary counts the entries that an import changed.
type ImportSummary struct {
	Origin    string `json:"origin"`
	Added     int    `json:"added"`
	Removed   int    `json:"removed"`
	Unchanged int    `json:"unchanged"`
	Renewed   int    `json:"renewed"`
	Refused   int    `json:"refused"`
}

// Packet is a sample of the packets that a block matched. The ports are 0 if the
// packet has none.
type Packet struct {
	Interface       string `json:"interface"`
	Source          string `json:"source"`
	Protocol        string `json:"protocol"`
	SourcePort      uint16 `json:"source_port"`
	DestinationPort uint16 `json:"destination_port"`
	Length          uint32 `json:"length"` // bytes
	Reason          string `json:"reason"`
}

// The results marshal their slices and maps as [] and {}, never as null, so
// that scripts can iterate without a check.

// MarshalJSON implements json.Marshaler.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status
	s.Interfaces = orEmpty(s.Interfaces)
	s.Warnings = orEmpty(s.Warnings)
	return json.Marshal(plain(s))
}

// MarshalJSON implements json.Marshaler.
func (s Stats) MarshalJSON() ([]byte, error) {
	type plain Stats
	s.Interfaces = orEmpty(s.Interfaces)
	return json.Marshal(plain(s))
}

// MarshalJSON implements json.Marshaler.
func (s InterfaceStats) MarshalJSON() ([]byte, error) {
	type plain InterfaceStats
	if s.Reasons == nil {
		s.Reasons = map[string]Counter{}
	}
	return json.Marshal(plain(s))
}

// MarshalJSON implements json.Marshaler.
func (r ChangeResult) MarshalJSON() ([]byte, error) {
	type plain ChangeResult
	r.Entries, r.Kept, r.Replaced = orEmpty(r.Entries), orEmpty(r.Kept), orEmpty(r.Replaced)
	r.Allowed, r.Notes = orEmpty(r.Allowed), orEmpty(r.Notes)
	return json.Marshal(plain(r))
}

// MarshalJSON implements json.Marshaler.
func (r RemoveResult) MarshalJSON() ([]byte, error) {
	type plain RemoveResult
	r.Removed = orEmpty(r.Removed)
	r.StillBlocked = orEmpty(r.StillBlocked)
	r.Notes = orEmpty(r.Notes)
	return json.Marshal(plain(r))
}

// MarshalJSON implements json.Marshaler.
func (r ImportResult) MarshalJSON() ([]byte, error) {
	type plain ImportResult
	r.Refused = orEmpty(r.Refused)
	r.Invalid = orEmpty(r.Invalid)
	r.Notes = orEmpty(r.Notes)
	r.Spared = orEmpty(r.Spared)
	r.Held = orEmpty(r.Held)
	return json.Marshal(plain(r))
}

// MarshalJSON implements json.Marshaler.
func (r WhyResult) MarshalJSON() ([]byte, error) {
	type plain WhyResult
	r.Matched, r.Tags = orEmpty(r.Matched), orEmpty(r.Tags)
	return json.Marshal(plain(r))
}

func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
