// Package paraxial lets a program report events to paraxiald, ask for verdicts and ban. It is for
// applications, and imports nothing but the standard library. The user of the program has to be a
// reporter in the configuration of paraxiald: see docs/reporting.md.
//
// Everything fails open: if the daemon does not answer in time, a question has an error, and the
// middleware passes the request on.
package paraxial

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// DefaultSocket is where paraxiald listens for reporters.
const DefaultSocket = "/run/paraxial/report.sock"

// ErrAway is in the chain of an error if the daemon was not asked: it cannot be reached, or does
// not keep up.
var ErrAway = errors.New("paraxiald does not answer")

// Event is what a program has seen of a source.
type Event struct {
	Address netip.Addr `json:"address"`
	Rule    string     `json:"rule"`
	Points  int        `json:"points,omitzero"` // 0 counts as 1
	User    string     `json:"user,omitzero"`   // the name that the source gave
	Path    string     `json:"path,omitzero"`   // the path that the source asked for
	Time    time.Time  `json:"time,omitzero"`   // when it happened; zero: when it is reported
	Success bool       `json:"success,omitzero"`
	Text    string     `json:"text,omitzero"` // a description
}

// Verdict tells what happens to the packets of an address.
type Verdict struct {
	Address netip.Addr `json:"address"`
	Verdict string     `json:"verdict"` // pass, drop, limit or shadow
	Origin  string     `json:"origin"`  // of the entry that decides; empty without one
	Until   time.Time  `json:"until"`   // the end of that entry; zero: it has none
	Points  int        `json:"points"`  // of the source, after Rate
	Limit   int        `json:"limit"`   // of the rule, after Rate
	Tags    []string   `json:"tags"`    // the sets that contain the address
}

// Dropped reports whether the packets of the address are dropped.
func (v Verdict) Dropped() bool { return v.Verdict == "drop" }

// Error is an error of the daemon.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Options of a Shield. Zero means the default.
type Options struct {
	Socket  string        // default: DefaultSocket
	Timeout time.Duration // of a question, 50 ms
	Queue   int           // events that may wait for the daemon, 10,000
	Log     *slog.Logger  // default: slog.Default()
	// Client returns the client of a request, for the middleware. The default is the peer of the
	// connection, which is right only without a proxy. If it returns false, the request passes.
	Client func(*http.Request) (netip.Addr, bool)
}

// Shield is a connection to paraxiald. It may be used by several goroutines at once.
type Shield struct {
	opts   Options
	http   *http.Client
	events *queue
	stream *stream

	stop    context.CancelFunc
	running sync.WaitGroup
}

// New returns a Shield. It connects when it is used, and again if the daemon restarts. Close must
// be called when it is not needed any more.
func New(o Options) *Shield {
	o.Socket = cmp.Or(o.Socket, DefaultSocket)
	o.Timeout = cmp.Or(o.Timeout, 50*time.Millisecond)
	o.Queue = cmp.Or(o.Queue, 10_000)
	o.Log = cmp.Or(o.Log, slog.Default())
	if o.Client == nil {
		o.Client = peer
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Shield{opts: o, http: httpClient(o.Socket), stop: stop, stream: newStream(o.Socket)}
	s.events = newQueue(o.Queue, o.Log, s.send)
	s.running.Go(func() { s.events.run(ctx) })
	s.running.Go(func() { s.stream.run(ctx) })
	return s
}

// Close sends the events that wait, for a second at most, and ends the connection.
func (s *Shield) Close() {
	s.stop()
	s.running.Wait()
}

// Report reports an event. It never waits: events are sent in batches. If the daemon is away for
// so long that the queue is full, the oldest event is dropped. After an error of the connection
// events may be counted twice.
func (s *Shield) Report(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	s.events.add(e)
}

// Stats are counts of events.
type Stats struct {
	Accepted uint64 // by the daemon
	Refused  uint64 // by the daemon; the log says why
	Dropped  uint64 // because the queue was full or the Shield was closed
	Waiting  int
}

// Stats returns what became of the events so far.
func (s *Shield) Stats() Stats { return s.events.stats() }

// Ask returns what happens to the packets of an address.
func (s *Shield) Ask(ctx context.Context, a netip.Addr) (Verdict, error) {
	return s.ask(ctx, question{Verdict: &a})
}

// Count counts an event, and returns what happens to the packets of its source.
func (s *Shield) Count(ctx context.Context, e Event) (Verdict, error) {
	return s.ask(ctx, question{Rate: &e})
}

func (s *Shield) ask(ctx context.Context, q question) (Verdict, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.opts.Timeout, ErrAway)
	defer cancel()
	return s.stream.ask(ctx, q)
}
