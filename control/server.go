package control

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/paraxial/paraxial/conns"
)

// Options bound the resources that callers can use. Zero means the default.
type Options struct {
	Log            *slog.Logger  // default: slog.Default()
	MaxConns       int           // connections in total, 512
	MaxConnsPerUID int           // connections of one uid, 128
	MaxStreams     int           // lists, watches and imports at once, 64
	MaxUIDStreams  int           // of one uid, 16
	MaxWork        int           // requests at work, of all uids but root, 16
	MaxUIDWork     int           // of one uid, 4
	MaxLarge       int           // requests at work with bodies of more than 64 KiB, of all uids but root, 1
	MaxImports     int           // lists in memory, of all uids but root, 2; as many of root
	RequestTimeout time.Duration // for an answer that is not a stream, with waiting, 30 s
	StallTimeout   time.Duration // without progress of a body or a stream, 30 s
	ImportTimeout  time.Duration // until a list is complete, with waiting, 10 min
	ImportRate     int           // least bytes per second of a list after two StallTimeouts, 4096
}

// Server serves a Backend over HTTP.
type Server struct {
	backend Backend
	opts    Options
	work    *conns.Gate // requests that are no streams
	bodies  *conns.Gate // bodies of more than smallBody
	large   *conns.Gate // requests at work that have such a body
	imports *conns.Gate // lists in memory
}

// NewServer returns a server for b.
func NewServer(b Backend, opts Options) *Server {
	opts.Log = cmp.Or(opts.Log, slog.Default())
	opts.MaxConns = cmp.Or(opts.MaxConns, 512)
	opts.MaxConnsPerUID = cmp.Or(opts.MaxConnsPerUID, 128)
	opts.MaxStreams = cmp.Or(opts.MaxStreams, 64)
	opts.MaxUIDStreams = cmp.Or(opts.MaxUIDStreams, 16)
	opts.MaxWork = cmp.Or(opts.MaxWork, 16)
	opts.MaxUIDWork = cmp.Or(opts.MaxUIDWork, 4)
	opts.MaxLarge = cmp.Or(opts.MaxLarge, 1)
	opts.MaxImports = cmp.Or(opts.MaxImports, 2)
	opts.ImportTimeout = cmp.Or(opts.ImportTimeout, 10*time.Minute)
	opts.ImportRate = cmp.Or(opts.ImportRate, 4096)
	opts.RequestTimeout = cmp.Or(opts.RequestTimeout, 30*time.Second)
	opts.StallTimeout = cmp.Or(opts.StallTimeout, 30*time.Second)
	return &Server{
		backend: b, opts: opts,
		work:    conns.NewGate(opts.MaxConnsPerUID, opts.MaxWork, opts.MaxUIDWork),
		bodies:  conns.NewGate(opts.MaxWork, opts.MaxWork, opts.MaxUIDWork),
		large:   conns.NewGate(opts.MaxWork, opts.MaxLarge, opts.MaxLarge),
		imports: conns.NewGate(opts.MaxImports, opts.MaxImports, 1),
	}
}

// Serve answers on the listeners, which are of Unix sockets, until ctx is done. It then ends the
// streams, gives running requests five seconds, and returns nil. All listeners share the bounds.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	table := conns.New(conns.Options[Caller]{
		Name: "control", Log: s.opts.Log, Max: s.opts.MaxConns, PerKey: s.opts.MaxConnsPerUID,
		Reserve: s.opts.MaxConnsPerUID, Peer: conns.CallerOf, Share: Caller.Share,
	})
	return table.Serve(ctx, newHandler(s, table, ctx.Done()), listeners...)
}
