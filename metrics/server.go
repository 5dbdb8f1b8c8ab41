package metrics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/paraxial/paraxial/conns"
)

// Options bound what callers can take from the daemon. Zero means the default.
type Options struct {
	Log             *slog.Logger
	MaxConns        int // connections in all, 64
	MaxConnsPerPeer int // 16

	// Peer names the other end of a connection. The bounds hold for each peer.
	Peer func(net.Conn) string
	// Hosts returns the host names by which the metrics may be requested, besides
	// addresses and localhost. If Hosts is nil, any name is accepted.
	Hosts func() []string
}

const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second // of a request with its body, which is discarded
	idleTimeout   = time.Minute
	writeTimeout  = 30 * time.Second
	maxHeader     = 16 << 10
)

// connTable returns the table that bounds the connections. A new one is always accepted,
// because no connection is ever busy in the table: a scrape that hangs keeps nobody out.
func connTable(o Options) *conns.Table[string] {
	return conns.New(conns.Options[string]{
		Name: "metrics", Log: o.Log, Max: cmp.Or(o.MaxConns, 64), PerKey: cmp.Or(o.MaxConnsPerPeer, 16),
		Peer:  func(c net.Conn) (string, error) { return o.Peer(c), nil },
		Share: func(peer string) conns.Share { return conns.Share{Key: peer, Crowd: peer} },
	})
}

// Serve serves the metrics of c on l until ctx is done, and closes l.
func Serve(ctx context.Context, l net.Listener, c *Collector, o Options) error {
	handler, err := Handler(c, slog.NewLogLogger(o.Log.Handler(), slog.LevelError))
	if err != nil {
		return errors.Join(err, l.Close())
	}
	if o.Hosts != nil {
		handler = checkHost(handler, o.Hosts)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	err = server.Serve(connTable(o).Listen(l))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return errors.Join(fmt.Errorf("serve metrics on %s: %w", l.Addr(), err), server.Close())
}
