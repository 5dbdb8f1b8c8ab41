package control

import "encoding/json"

// PreviewResult tells what a BlockRequest would do.
type PreviewResult struct {
	WouldApply  bool              `json:"would_apply"` // false: the guard refuses
	Refusals    []Refusal         `json:"refusals"`    // including those that force overrides
	Kept        []Entry           `json:"kept"`        // as in ChangeResult
	Allowed     []Allowed         `json:"allowed"`     // as in ChangeResult
	Connections PreviewConnection `json:"connections"`
	Traffic     PreviewTraffic    `json:"traffic"`
	Entries     []Entry           `json:"entries"`      // live entries that overlap
	EntriesMore bool              `json:"entries_more"` // there are more
	Notes       []string          `json:"notes"`
}

// Refusal tells why the guard refuses a prefix.
type Refusal struct {
	Prefix  string `json:"prefix"` // empty: all
	Message string `json:"message"`
}

// PreviewConnection counts the established TCP connections and the connected UDP
// sockets whose peer is in one of the prefixes.
type PreviewConnection struct {
	Known    bool             `json:"known"` // false: they could not be read, see notes
	Count    int              `json:"count"` // connections that would be cut
	Peers    int              `json:"peers"`
	Spared   int              `json:"spared"` // with peers that an allow lets pass
	Unknown  []PreviewUnknown `json:"unknown"`
	Services []PreviewService `json:"services"`
}

// PreviewUnknown is traffic that the block may cut and that cannot be seen.
type PreviewUnknown struct {
	What  string `json:"what"`
	Count *int   `json:"count"` // null: not known
}

// PreviewService is a port with connections, most first.
type PreviewService struct {
	Protocol  string   `json:"protocol"`  // tcp or udp
	Direction string   `json:"direction"` // in: our port; out: the peer's
	Port      uint16   `json:"port"`
	Count     int      `json:"count"`
	Processes []string `json:"processes"` // NAME[PID], as far as they are visible
}

// PreviewTraffic lists the sources in the prefixes that rate analysis tracks.
type PreviewTraffic struct {
	Enabled bool        `json:"enabled"` // false: no detector is configured
	Sources []TopSource `json:"sources"`
}

// MarshalJSON implements json.Marshaler.
func (r PreviewResult) MarshalJSON() ([]byte, error) {
	type plain PreviewResult
	r.Kept, r.Allowed = orEmpty(r.Kept), orEmpty(r.Allowed)
	r.Refusals, r.Entries, r.Notes = orEmpty(r.Refusals), orEmpty(r.Entries), orEmpty(r.Notes)
	return json.Marshal(plain(r))
}

// MarshalJSON implements json.Marshaler.
func (c PreviewConnection) MarshalJSON() ([]byte, error) {
	type plain PreviewConnection
	c.Services, c.Unknown = orEmpty(c.Services), orEmpty(c.Unknown)
	return json.Marshal(plain(c))
}

// MarshalJSON implements json.Marshaler.
func (s PreviewService) MarshalJSON() ([]byte, error) {
	type plain PreviewService
	s.Processes = orEmpty(s.Processes)
	return json.Marshal(plain(s))
}

// MarshalJSON implements json.Marshaler.
func (t PreviewTraffic) MarshalJSON() ([]byte, error) {
	type plain PreviewTraffic
	t.Sources = orEmpty(t.Sources)
	return json.Marshal(plain(t))
}
