package daemon

import (
	"sync"
	"sync/atomic"
	"time"
)

// saves is whether changes of the entries can be saved.
type saves struct {
	problem // why the last attempt failed
	failed  atomic.Uint64

	mu     sync.Mutex
	logged time.Time // when a failure was logged
}

// noteSave records and logs the outcome of an attempt to save a change. The engine calls it
// after each attempt.
func (d *Daemon) noteSave(err error) {
	s := &d.saves
	if err != nil {
		s.failed.Add(1)
	} else if s.String() == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	failing := s.String() != ""
	s.set(err)
	switch {
	case err == nil && failing:
		s.logged = time.Time{}
		d.log.Info("changes can be saved again")
	case err != nil && time.Since(s.logged) >= complainEvery:
		s.logged = time.Now()
		d.log.Error("a change could not be saved, and was not made: check that the disk has room and can be written to",
			"state_dir", d.settings().StateDir, "error", err)
	}
}
