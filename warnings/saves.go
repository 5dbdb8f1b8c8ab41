package warnings

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Saves holds whether changes of the entries can be saved. Its zero value has no failures.
type Saves struct {
	Problem // why the last attempt failed
	failed  atomic.Uint64

	mu     sync.Mutex
	logged time.Time // when a failure was logged
}

// Failed returns the number of attempts that failed.
func (s *Saves) Failed() uint64 { return s.failed.Load() }

// Note records and logs the outcome of an attempt to save a change in a directory. It logs
// failures at most once in Every.
func (s *Saves) Note(log *slog.Logger, dir string, err error) {
	if err != nil {
		s.failed.Add(1)
	} else if s.String() == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	failing := s.String() != ""
	s.Set(err)
	switch {
	case err == nil && failing:
		s.logged = time.Time{}
		log.Info("changes can be saved again")
	case err != nil && time.Since(s.logged) >= Every:
		s.logged = time.Now()
		log.Error("a change could not be saved: commands and lists change nothing, and new bans of detectors end with "+
			"a restart: check that the disk has room and can be written to", "state_dir", dir, "error", err)
	}
}
