// Package feeds keeps subscribed lists fresh. It fetches them, reads them, holds changes
// that look like mistakes, keeps their last generations on disk, and hands the sets to a
// Sender. A set without a good answer for its TTL ends.
package feeds

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/paraxial/paraxial/feeds/crowdsec"
	"github.com/paraxial/paraxial/report"
)

// Feed is a subscription.
type Feed struct {
	Name  string
	URL   string        // https, http with a checksum or signature, file, or the path of a file
	Every time.Duration // between two requests
	TTL   time.Duration // the set ends this long after the last good answer
	Use   string        // what the daemon does with the set; see Shadow

	Except string // names of feeds whose addresses the set leaves out, separated by blanks
	Exempt string // prefixes that it leaves out, separated by blanks

	Format string // as lists.Options has it
	Column string
	Select string

	Timeout    time.Duration // of a whole request
	MaxBytes   int64         // of the body, before lists unpacks it
	MaxEntries int
	MaxShrink  float64 // part of its entries that the set may lose at once: 0.5
	MaxGrow    float64 // how many times its entries it may have after a change; 0: any number
	MaxShare   float64 // part of IPv4, or of 2000::/3 of IPv6, that it may cover

	Private  bool     // the server may have an address that is not public
	CA       string   // file of the certificates to trust, instead of those of the system
	CrowdSec CrowdSec // instead of URL

	SHA256   string // URL of the checksum
	Minisign string // public key
}

// CrowdSec is a local API of CrowdSec.
type CrowdSec struct {
	URL     string // empty: the feed is a list
	KeyFile string
	Every   time.Duration // between two requests for changes
	Resync  time.Duration // between two requests for all decisions
}

// Shadow is the use of a set that only counts. Other uses matter to the daemon alone.
const Shadow = "shadow"

// fingerprint identifies all that decides what a body means. A condition such as an ETag
// is of no use after a change of it.
func (f Feed) fingerprint() string {
	f.Every, f.Timeout = 0, 0
	f.Except, f.Exempt = "", "" // exceptions tells those
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

// Sender takes the sets. It is a report.Client, but in tests.
type Sender interface {
	crowdsec.Sender
	// Renew lets the entries of a set stay for another TTL. The error is a report.ErrUnknown if
	// the set has to be put.
	Renew(ctx context.Context, name string, generation uint64) error
	// Report tells the state of all feeds.
	Report(ctx context.Context, states []report.State) error
	// Command waits for the next command. ok is false after a while without one.
	Command(ctx context.Context) (c report.Command, ok bool, err error)
	// Answer answers a command.
	Answer(ctx context.Context, id string, a report.Answer) error
}
