package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/paraxial/paraxial/control"
)

// reportSocket keeps the socket for reporters open while the configuration has reporters. It
// is not needed for filtering, so a failure is a warning, and is tried again.
type reportSocket struct {
	*reporting
	path string // empty: no socket

	listener *control.Listener // nil while it is closed
	stop     context.CancelFunc
	served   sync.WaitGroup
}

// reportInterval is the time between two looks at the socket.
const reportInterval = 2 * time.Second

// run keeps the socket as it should be until ctx is done.
func (s *reportSocket) run(ctx context.Context) {
	keep(ctx, s.adjust)
	s.served.Wait()
}

// keep calls adjust again and again until ctx is done.
func keep(ctx context.Context, adjust func(context.Context)) {
	tick := time.NewTicker(reportInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			adjust(ctx)
		}
	}
}

// adjust opens or closes the socket, or creates it again if it was removed.
func (s *reportSocket) adjust(ctx context.Context) {
	wanted := s.path != "" && len(s.settings().Reporters()) > 0
	var err error
	switch {
	case wanted && s.listener == nil:
		err = s.open(ctx)
	case wanted:
		_, err = s.listener.Restore()
	case s.listener != nil:
		s.stop()
		s.served.Wait()
		s.listener = nil
	}
	s.tellProblem("reports", "reporters cannot reach the daemon: ", err)
}

func (s *reportSocket) open(ctx context.Context) error {
	l, err := control.ListenOpen(s.path)
	if err != nil {
		return err
	}
	ctx, s.stop = context.WithCancel(ctx)
	s.listener = l
	s.served.Go(func() {
		if err := s.server.Serve(ctx, l); err != nil {
			s.log.Error("reporters cannot reach the daemon", "error", err)
		}
	})
	s.log.Info("reporters may connect", "socket", s.path)
	return nil
}
