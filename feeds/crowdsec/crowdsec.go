// Package crowdsec follows the decisions of a local API of CrowdSec, and hands in its bans as a
// set. An error lifts nothing: what the daemon has stays until it ends by itself.
package crowdsec

import (
	"context"
	"net/http"
	"time"

	"github.com/paraxial/paraxial/report"
)

// Source is a local API of CrowdSec.
type Source struct {
	Name       string // of the feed
	URL        string
	KeyFile    string
	Every      time.Duration // between two requests for changes
	Resync     time.Duration // between two requests for all decisions
	TTL        time.Duration // no entry lasts longer without another answer
	MaxEntries int
	MaxBytes   int64
	MaxShrink  float64 // as that of a feed
}

// Sender takes the set. It is a report.Client, but in tests.
type Sender interface {
	// Put replaces the set.
	Put(ctx context.Context, s report.Set) (report.Result, error)
	// Change changes it. The error is a report.ErrUnknown if the set has to be put.
	Change(ctx context.Context, c report.Changes) (report.Result, error)
}

// Options are what a Follower needs beside its source.
type Options struct {
	Sender Sender
	Agent  string // the header User-Agent of requests
	Client *http.Client
	Now    func() time.Time
}
