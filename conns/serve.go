package conns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	headerTimeout   = 10 * time.Second
	idleTimeout     = time.Minute
	shutdownTimeout = 5 * time.Second
	maxHeader       = 16 << 10
)

// Serve answers requests on the listeners with h until ctx is done. It then gives running requests
// five seconds, and returns nil. The handler sets the deadlines of bodies and answers.
func (t *Table[P]) Serve(ctx context.Context, h http.Handler, listeners ...net.Listener) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       t.Context,
		ConnState:         t.State,
		ErrorLog:          slog.NewLogLogger(t.opts.Log.Handler(), slog.LevelDebug),
		// OPTIONS gets the same answer as any other wrong method.
		DisableGeneralOptionsHandler: true,
	}
	served := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { served <- srv.Serve(t.Listen(l)) }()
	}
	select {
	case err := <-served:
		srv.Close()
		return fmt.Errorf("serve the %s socket: %w", t.opts.Name, err)
	case <-ctx.Done():
	}
	t.CloseIdle()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		t.opts.Log.Warn(t.opts.Name+": requests still at work were cut off", "error", err)
		srv.Close()
	}
	for range listeners {
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the %s socket: %w", t.opts.Name, err)
		}
	}
	return nil
}
