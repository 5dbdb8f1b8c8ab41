package control

// ImportRequest asks to replace the set of blocks of Origin by a list, or the set of its
// allows. Lines of the list may have a lifetime and a reason of their own.
type ImportRequest struct {
	Origin      string
	Kind        string // block or allow; empty: block
	Action      string // as in BlockRequest
	Rate        string // as in BlockRequest
	Replies     string // as in BlockRequest
	For         string // as policy.ParseTTL; empty: forever
	Reason      string
	SkipInvalid bool
	Force       bool // override the guard, and the bound of the share
	Wide        bool // accept prefixes, and allows together, wider than the guard accepts
	Accept      bool // apply a list that is held because it changes too much
	DryRun      bool // change nothing
}

// ImportProgress shows how far an import is.
type ImportProgress struct {
	Read    int `json:"read"`    // lines read
	Applied int `json:"applied"` // entries in force
	Total   int `json:"total"`   // entries to apply; 0 while not known
}

// ImportResult is the result of an import. If Invalid is not empty and the request
// did not set SkipInvalid, nothing was applied.
type ImportResult struct {
	Added     int           `json:"added"`
	Removed   int           `json:"removed"`
	Unchanged int           `json:"unchanged"`
	Renewed   int           `json:"renewed"` // those of Unchanged with a new expiry, reason, action or rate
	Refused   []RefusedLine `json:"refused"`
	Invalid   []InvalidLine `json:"invalid"`
	Notes     []string      `json:"notes"`
	Spared    []SparedLine  `json:"spared"`
	Held      []string      `json:"held"` // of DryRun: why the list would not be applied without Accept
	Coverage  Coverage      `json:"coverage"`
}

// Coverage is the part of the address space that a list covers, from 0 to 1. That of
// IPv6 is the part of 2000::/3, which has all addresses of the Internet.
type Coverage struct {
	IPv4 float64 `json:"ipv4"`
	IPv6 float64 `json:"ipv6"`
}

// RefusedLine is a line of a list that the guard left out.
type RefusedLine struct {
	Prefix  string `json:"prefix"`
	Line    int    `json:"line"` // from 1
	Message string `json:"message"`
}

// SparedLine is a line of a list that covers addresses from which sessions to the host
// are open. The prefix is blocked, and the addresses are allowed as long as the
// sessions last.
type SparedLine struct {
	Prefix    string   `json:"prefix"`
	Line      int      `json:"line"` // from 1
	Addresses []string `json:"addresses"`
}

// InvalidLine is a line of a list that is not a prefix.
type InvalidLine struct {
	Line    int    `json:"line"` // from 1
	Message string `json:"message"`
}
