package report

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/paraxial/paraxial/conns"
)

// Options bound the resources that callers can use. Zero means the default.
type Options struct {
	Log            *slog.Logger  // default: slog.Default()
	MaxConns       int           // connections of one reporter, and of all strangers together, 32
	MaxWork        int           // requests of one reporter at work, without those that wait for a command, 2
	MaxSets        int           // sets in memory, 2; one of each reporter
	RequestTimeout time.Duration // for an answer, without the reading of a set, 30 s
	StallTimeout   time.Duration // without progress of a body, 30 s
	SetTimeout     time.Duration // until a set is complete, with waiting, 10 min
	SetRate        int           // least bytes per second of a set after two StallTimeouts, 4096
	// OverBudget is how long the answer to a reporter is delayed that reports more events than it
	// may, 50 ms. It then costs little.
	OverBudget time.Duration
}

// Backend carries out the requests. All methods may be called from several goroutines at
// once. An *Error in the chain of a returned error determines the code that the reporter
// sees.
type Backend interface {
	// Reporter returns the rights of a user; false if it is no reporter.
	Reporter(uid uint32) (Rights, bool)
	// Put makes list the set of a feed, or changes nothing and returns an error, also when
	// reading list fails midway. A set that a guard holds is no error, but a Result.
	Put(ctx context.Context, reporter string, s Set, list io.Reader) (Result, error)
	// Change puts the prefixes of list into the set of a feed, and removes others from it, or
	// changes nothing and returns an error. It returns ErrUnknown if the set has to be put.
	Change(ctx context.Context, reporter string, c Changes, list io.Reader) (Result, error)
	// Renew lets the entries of a set stay for another ttl. It returns ErrUnknown if the set
	// is not of that generation.
	Renew(ctx context.Context, reporter, set string, generation uint64) error
	// Events counts events, which are valid and which the reporter may report. It returns those
	// that were not counted, whose lines are their places in events, from 1.
	Events(ctx context.Context, reporter string, events []Event) ([]Refusal, error)
	// Rate counts an event, and returns what happens to the packets of its source. It does not
	// wait for the disk.
	Rate(ctx context.Context, reporter string, e Event) (Verdict, error)
	// Note notes that an event of a reporter was refused before it got to Events or Rate. The rule
	// is as the reporter gave it.
	Note(reporter, rule, code string)
	// Verdict returns what happens to the packets of an address.
	Verdict(addr netip.Addr) Verdict
	// Ban blocks a prefix, which is within the budget of the reporter apart from Bans.Live.
	Ban(ctx context.Context, who Rights, b Ban) (Verdict, error)
}

// Server serves a Backend over HTTP.
type Server struct {
	backend Backend
	board   *Board
	opts    Options
	work    *conns.Gate
	sets    *conns.Gate
	once    once // requests with a source
	budgets budgets
}

// NewServer returns a server for b. What reporters tell of their feeds gets to the board.
func NewServer(b Backend, board *Board, opts Options) *Server {
	opts.Log = cmp.Or(opts.Log, slog.Default())
	opts.MaxConns = cmp.Or(opts.MaxConns, 32)
	opts.MaxWork = cmp.Or(opts.MaxWork, 2)
	opts.MaxSets = cmp.Or(opts.MaxSets, 2)
	opts.RequestTimeout = cmp.Or(opts.RequestTimeout, 30*time.Second)
	opts.StallTimeout = cmp.Or(opts.StallTimeout, 30*time.Second)
	opts.SetTimeout = cmp.Or(opts.SetTimeout, 10*time.Minute)
	opts.SetRate = cmp.Or(opts.SetRate, 4096)
	opts.OverBudget = cmp.Or(opts.OverBudget, 50*time.Millisecond)
	return &Server{
		backend: b, board: board, opts: opts,
		work: conns.NewGate(opts.MaxWork, maxReporters*opts.MaxWork, opts.MaxWork),
		sets: conns.NewGate(1, opts.MaxSets, 1),
	}
}

// maxPerSecond is the number of connections that a reporter, and all strangers together, may
// open in a second. A program that opens more would keep others waiting for theirs.
const maxPerSecond = 2000

// maxReporters is the largest number of reporters that have room beside each other.
const maxReporters = 16

// Serve answers on l, a listener of Unix sockets, until ctx is done, and then returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	table := conns.New(conns.Options[conns.Caller]{
		Name: "report", Log: s.opts.Log, Max: (maxReporters + 1) * s.opts.MaxConns, PerKey: s.opts.MaxConns,
		PerSecond: maxPerSecond,
		Peer:      conns.CallerOf, Share: s.share,
	})
	h := &handler{Server: s, table: table, stopping: ctx.Done()}
	defer h.streams.Wait()
	return table.Serve(ctx, h, l)
}

// share counts the connections by reporter. All strangers share the connections of one, so
// that they take none from reporters.
func (s *Server) share(c conns.Caller) conns.Share {
	share := conns.Share{Key: "strangers", Crowd: strconv.Itoa(int(c.PID))}
	if r, ok := s.backend.Reporter(c.UID); ok {
		share.Key = "reporter " + r.Name
	}
	return share
}
