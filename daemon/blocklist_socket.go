package daemon

import (
	"context"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/report"
	"github.com/paraxial/paraxial/report/blocklist"
)

// blocklistSocket keeps the socket of libblocklist open while a reporter needs it.
type blocklistSocket struct {
	*reporting
	path string // empty: no socket

	file   fs.FileInfo // of the socket; nil while it is closed
	stop   context.CancelFunc
	served sync.WaitGroup
}

// provenEvents takes the events of the socket.
type provenEvents struct {
	*reporting
	*report.Server
}

// adjust opens or closes the socket, or creates it again if it was removed.
func (s *blocklistSocket) adjust(ctx context.Context) {
	proven := func(r config.Reporter) bool { return r.Proof == config.ProofConnection }
	wanted := s.path != "" && slices.ContainsFunc(s.settings().Reporters(), proven)
	if s.file != nil && (!wanted || !s.there()) {
		s.close()
	}
	var err error
	if wanted && s.file == nil {
		err = s.open(ctx)
	}
	s.tellProblem("blocklist socket", "programs with libblocklist cannot report: ", err)
}

// there reports whether the socket is still in its place.
func (s *blocklistSocket) there() bool {
	now, err := os.Lstat(s.path)
	return err == nil && os.SameFile(now, s.file)
}

func (s *blocklistSocket) open(ctx context.Context) error {
	c, err := blocklist.Listen(s.path)
	if err != nil {
		return err
	}
	if s.file, err = os.Lstat(s.path); err != nil {
		c.Close()
		return err
	}
	ctx, s.stop = context.WithCancel(ctx)
	receiver := &blocklist.Receiver{Sink: provenEvents{s.reporting, s.server}, Log: s.log}
	s.served.Go(func() {
		if err := receiver.Serve(ctx, c); err != nil {
			s.log.Error("programs with libblocklist cannot report", "error", err)
		}
	})
	s.log.Info("programs with libblocklist may report", "socket", s.path)
	return nil
}

// close ends the service, and removes the socket if it is still in its place.
func (s *blocklistSocket) close() {
	s.stop()
	s.served.Wait()
	if s.there() {
		os.Remove(s.path) // a socket that stays is replaced
	}
	s.file = nil
}

// run keeps the socket as it should be until ctx is done.
func (s *blocklistSocket) run(ctx context.Context) {
	keep(ctx, s.adjust)
	if s.file != nil {
		s.close()
	}
}
