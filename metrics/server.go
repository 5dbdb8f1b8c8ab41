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
	table := newConnTable(cmp.Or(o.MaxConns, 64), cmp.Or(o.MaxConnsPerPeer, 16))
	err = server.Serve(&boundListener{Listener: l, table: table, peer: o.Peer})
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return errors.Join(fmt.Errorf("serve metrics on %s: %w", l.Addr(), err), server.Close())
}
