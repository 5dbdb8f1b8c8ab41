package metrics

import (
	"context"
	"errors"
	"net"
	"time"
)

const (
	firstRetry = time.Second // before the address is opened again; doubled up to lastRetry
	lastRetry  = 30 * time.Second

	restoreInterval = 2 * time.Second // between checks that a socket's file is there
)

// Server keeps the metrics served at one address. A failure never ends it: the filter is worth
// more than its metrics, and any local user can take a port.
type Server struct {
	Collector *Collector
	Options   Options
	Address   string                       // for the log
	Open      func() (net.Listener, error) // opens the address
	Report    func(error)                  // is told why the metrics are not served, nil once they are

	listener net.Listener // nil until Open succeeds
}

// restorer is a listener on a file that can be created again after it was removed.
type restorer interface {
	Restore() (restored bool, err error)
}

// Listen opens the address. If that fails, it reports the error, and Run tries again.
func (s *Server) Listen() {
	l, err := s.Open()
	if err != nil {
		s.Report(err)
		return
	}
	s.listener = l
}

// Run serves the metrics until ctx is done. If there is no listener or it fails, Run opens the
// address again.
func (s *Server) Run(ctx context.Context) {
	for wait := firstRetry; ; {
		if s.listener != nil {
			s.Report(nil)
			if err := s.serve(ctx); ctx.Err() == nil {
				s.Report(err)
			}
			s.listener, wait = nil, firstRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
		if s.Listen(); s.listener != nil {
			s.Options.Log.Info("metrics are served", "metrics", s.Address)
		}
	}
}

// serve serves the metrics on the listener until ctx is done or the listener fails, and closes
// the listener.
func (s *Server) serve(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if socket, ok := s.listener.(restorer); ok {
		go s.restore(ctx, socket)
	}
	err := Serve(ctx, s.listener, s.Collector, s.Options)
	if err == nil {
		err = errors.New("the server has ended")
	}
	return err
}

// restore creates the socket again if it was removed, until ctx is done.
func (s *Server) restore(ctx context.Context, socket restorer) {
	tick := time.NewTicker(restoreInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := socket.Restore()
		if ctx.Err() == nil {
			s.Report(err)
		}
	}
}
