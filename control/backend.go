// Package control is the contract between paraxiald and its clients: wire types,
// and an HTTP/JSON server and client over a Unix socket. The server learns from
// the kernel who calls (SO_PEERCRED). It checks the form of each request and
// passes it to a Backend.
package control

import (
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/conns"
	"github.com/paraxial/paraxial/policy"
)

// Caller is the process at the other end of the socket.
type Caller = conns.Caller

// Backend carries out the requests. All methods may be called from several
// goroutines at once. An *Error in the chain of a returned error determines the
// code that the client sees. Any other error is an internal one.
//
// A method that yields returns yield's error if there is one.
type Backend interface {
	Status(context.Context) (Status, error)
	Stats(context.Context) (Stats, error)
	Detectors(context.Context) (DetectorsStatus, error)
	Top(context.Context) (TopResult, error)
	Block(context.Context, Caller, Block) (ChangeResult, error)
	// Preview tells what Block would do, and changes nothing.
	Preview(context.Context, Caller, Block) (PreviewResult, error)
	Allow(context.Context, Caller, Allow) (ChangeResult, error)
	Unblock(context.Context, Caller, Removal) (RemoveResult, error)
	Unallow(context.Context, Caller, Removal) (RemoveResult, error)
	// Flush removes all entries of an origin, or counts them.
	Flush(context.Context, Caller, Flush) (FlushResult, error)
	Promote(context.Context, Caller, Promotion) (ChangeResult, error)
	Confirm(context.Context, Caller, ConfirmRequest) (ChangeResult, error)

	// Entries yields the entries in force of one kind and origin. Kind 0 means
	// both kinds, and an empty origin means all. yield may wait for a slow
	// reader, so no lock may be held while it runs.
	Entries(ctx context.Context, kind policy.Kind, origin string, yield func(Entry) error) error

	// Import makes list the whole set of blocks of r.Origin, or changes
	// nothing and returns an error, also when reading list fails midway. A
	// list with invalid lines changes nothing either, unless r.SkipInvalid is
	// set, and the result names the lines. progress is called from Import's
	// goroutine.
	Import(ctx context.Context, c Caller, r Import, list io.Reader, progress func(ImportProgress)) (ImportResult, error)

	// Why returns what happens to packets from source.
	Why(ctx context.Context, source netip.Addr) (WhyResult, error)

	// Watch yields events until ctx is done, and then returns nil or ctx's
	// error. If a slow reader lost events, it yields one of type EventLost.
	Watch(ctx context.Context, yield func(Event) error) error

	// Feeds returns the state of the feeds.
	Feeds(context.Context) (FeedsStatus, error)
	// Logs returns the state of the logs.
	Logs(context.Context) (LogsStatus, error)
	// FeedCommand gives a command to the reporter of a feed, and waits for the answer.
	FeedCommand(context.Context, Caller, FeedCommand) (FeedAnswer, error)
	// Origins sums up the entries by origin.
	Origins(context.Context) (OriginsResult, error)

	// Rules returns the state of the rules, or of one of them with the sources nearest to its
	// limit.
	Rules(ctx context.Context, name string) (RulesStatus, error)
	// Forgive forgets what is held against an address.
	Forgive(context.Context, Caller, Forgiveness) (ForgiveResult, error)

	// Detach detaches the filter from all interfaces.
	Detach(context.Context, Caller) error
}

// Block is a BlockRequest as it reaches the backend.
type Block struct {
	Prefixes []netip.Prefix // masked, each once
	Notes    []string       // for the result: prefixes that were changed, such as masked ones
	Action   policy.Action
	Rate     policy.Rate // of a limit
	For      time.Duration
	Reason   string
	Origin   string
	Confirm  time.Duration // revert after this unless confirmed; 0: do not
	Force    bool          // override the guard
	Replace  bool          // replace also an entry that is stronger or longer
	Replies  bool          // answers to connections of this host pass
}

// Allow is an AllowRequest as it reaches the backend.
type Allow struct {
	Prefixes []netip.Prefix // masked, each once
	Notes    []string       // for the result
	For      time.Duration
	Reason   string
	Origin   string
	Force    bool // accept wide prefixes
	Replace  bool // replace also an entry that is longer
}

// Removal is an UnblockRequest or an UnallowRequest as it reaches the backend.
type Removal struct {
	Prefixes []netip.Prefix // masked, each once
	Notes    []string       // for the result
	Origin   string         // empty: of all origins
	Force    bool           // may cut open sessions; of an UnallowRequest
}

// Flush is a FlushRequest as it reaches the backend.
type Flush struct {
	Origin string
	Kind   policy.Kind // 0: both
	DryRun bool        // only count the entries
}

// Promotion is a PromoteRequest as it reaches the backend.
type Promotion struct {
	Prefixes []netip.Prefix // masked, each once
	Notes    []string       // for the result
	Origin   string
	Force    bool // override the guard
}

// FeedCommand is a command for a feed as it reaches the backend.
type FeedCommand struct {
	Command    string // refresh, accept, rollback, pause, resume or diff
	Name       string // of the feed
	Generation uint64 // of rollback and diff; 0: the usual one
}

// Import is an ImportRequest as it reaches the backend.
type Import struct {
	Origin      string
	Kind        policy.Kind
	Action      policy.Action // NoAction for an allow
	Rate        policy.Rate   // of a limit
	Replies     bool          // answers to connections of this host pass
	For         time.Duration
	Reason      string
	SkipInvalid bool
	Force       bool // override the guard, and the bound of the share
	Wide        bool // accept prefixes wider than the guard accepts
	Accept      bool // override the bounds of a change
	DryRun      bool // change nothing
}
