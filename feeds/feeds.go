// Package feeds keeps subscribed lists fresh. It fetches them, reads them, holds changes
// that look like mistakes, keeps their last generations on disk, and hands the sets to a
// Sender. A set without a good answer for its TTL ends.
package feeds

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"iter"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Feed is a subscription.
type Feed struct {
	Name  string
	URL   string        // https, http with a checksum or signature, file, or the path of a file
	Every time.Duration // between two requests
	TTL   time.Duration // the set ends this long after the last good answer
	Use   string        // what the daemon does with the set; see Shadow

	Format string // as lists.Options has it
	Column string
	Select string

	Timeout    time.Duration // of a whole request
	MaxBytes   int64         // of the body, before lists unpacks it
	MaxEntries int
	MaxShrink  float64 // part of its entries that the set may lose at once: 0.5
	MaxGrow    float64 // how many times its entries it may have after a change; 0: any number
	MaxShare   float64 // part of IPv4, or of 2000::/3 of IPv6, that it may cover

	Private  bool   // the server may have an address that is not public
	CA       string // file of the certificates to trust, instead of those of the system
	SHA256   string // URL of the checksum
	Minisign string // public key
}

// Shadow is the use of a set that only counts. Other uses matter to the daemon alone.
const Shadow = "shadow"

// fingerprint identifies all that decides what a body means. A condition such as an ETag
// is of no use after a change of it.
func (f Feed) fingerprint() string {
	f.Every, f.Timeout = 0, 0
	b, err := json.Marshal(f)
	if err != nil {
		panic(err) // a struct of plain values
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// own reports whether the list comes from this host or a private network. Such a list may
// have addresses that are not public.
func (f Feed) own() bool { return f.Private || f.path() != "" }

// path returns the path of a list that is a file, or "".
func (f Feed) path() string {
	if strings.HasPrefix(f.URL, "/") {
		return f.URL
	}
	if u, err := url.Parse(f.URL); err == nil && u.Scheme == "file" && u.Host == "" {
		return u.Path
	}
	return ""
}

// shownURL returns a URL without what may be a secret: user, password and query.
func shownURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "?"
	}
	u.User, u.Fragment = nil, ""
	if u.RawQuery != "" {
		u.RawQuery = "..."
	}
	return u.String()
}

// Entry is a prefix of a set.
type Entry struct {
	Prefix netip.Prefix
	For    time.Duration // how long it stays; 0: as long as the set
	Reason string
}

// Set is a set to hand in.
type Set struct {
	Name       string
	Generation uint64
	Accept     bool // an operator has accepted a change that a guard holds
	Entries    iter.Seq2[Entry, error]
}

// Result tells how a set was taken.
type Result struct {
	Added     int      `json:"added"`
	Removed   int      `json:"removed"`
	Renewed   int      `json:"renewed"`
	Unchanged int      `json:"unchanged"`
	Refused   int      `json:"refused"`
	Notes     []string `json:"notes,omitempty"` // the first refused entries and the like
	Held      string   `json:"held,omitempty"`  // why nothing was applied, if a guard holds it
}

// ErrUnknown is the error of Renew if the set at the other end is not of that generation.
var ErrUnknown = errors.New("the set is not of that generation")

// Sender takes the sets.
type Sender interface {
	// Put replaces a set.
	Put(ctx context.Context, s Set) (Result, error)
	// Renew lets the entries of a set stay for another TTL. It returns ErrUnknown if the
	// set has to be put.
	Renew(ctx context.Context, name string, generation uint64) error
	// Report tells the state of all feeds.
	Report(ctx context.Context, states []State) error
	// Command waits for the next command. It returns an error after a while without one.
	Command(ctx context.Context) (Command, error)
	// Answer answers a command.
	Answer(ctx context.Context, id string, a Answer) error
}

// Verb is what a command does.
type Verb string

// The verbs.
const (
	VerbRefresh  Verb = "refresh"
	VerbAccept   Verb = "accept"
	VerbRollback Verb = "rollback"
	VerbPause    Verb = "pause"
	VerbResume   Verb = "resume"
	VerbDiff     Verb = "diff"
)

// Command is a command of an operator. Generation is that of rollback and diff; 0 is the
// usual one.
type Command struct {
	ID         string
	Verb       Verb
	Name       string
	Generation uint64
}

// Answer is the answer to a command.
type Answer struct {
	Text string
	Err  error
}

// State is the state of a feed. Zero times are times that have not come yet.
type State struct {
	Name       string
	URL        string // without user, password and query
	Generation uint64
	Entries    int       // of the generation; 0 after its end
	FetchedAt  time.Time // the last complete body
	CheckedAt  time.Time // the last good answer, from which the TTL counts
	ChangedAt  time.Time // the last change of the set
	NextAt     time.Time // the next request
	EndsAt     time.Time // the end of the set, unless a good answer comes
	Failures   int       // requests since then that failed
	Error      string    // of the last request, or of handing the set in
	Held       *Held
	Paused     bool
	Ended      bool // no good answer for the TTL
	Format     string
	Notes      []string // what was left out of the list
	Kept       []Kept   // generations on disk, oldest first
}

// Held is a generation that is not applied.
type Held struct {
	Generation uint64 `json:"generation"`
	Reason     string `json:"reason"`
	Added      int    `json:"added"`
	Removed    int    `json:"removed"`
	Entries    int    `json:"entries"`

	Operator bool `json:"operator,omitempty"` // an operator has rolled it back
}

// Kept is a generation on disk.
type Kept struct {
	Generation uint64
	Entries    int
	At         time.Time
}
