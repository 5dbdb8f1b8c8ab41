package store

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/paraxial/paraxial/policy"
	"go.etcd.io/bbolt"
)

// Store is the open book on disk. Its methods may be called from several
// goroutines; writers wait for one another.
type Store struct {
	path string
	file *os.File // owned by db while that is open

	mu     sync.Mutex // held by a writer for its whole transaction
	db     *bbolt.DB
	clock  clock
	staged map[uint64]bool // sets that replacements are filling
	broken error           // why the store cannot be used any more

	// lastSet is the highest number of a set. Numbers are not used twice, so
	// that nobody removes a set that is not the one they meant.
	lastSet uint64
}

// Close closes the store and gives up its lock. It waits for transactions that
// are under way. Replacements that were not committed are gone.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.broken, ErrClosed) {
		return nil
	}
	closeFile := s.db.Close
	if s.broken != nil {
		closeFile = s.abandon
	}
	s.broken = ErrClosed
	if err := closeFile(); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}

// abandon closes the file without bbolt, which after a fault may hold locks of
// its own for ever. Its mapping stays, and would keep the lock of the file.
func (s *Store) abandon() error {
	return errors.Join(syscall.Flock(int(s.file.Fd()), syscall.LOCK_UN), s.file.Close())
}

// update runs fn in one durable transaction together with the clock's rows. If
// it fails nothing was changed. now is the checkpoint to write, nil for none.
func (s *Store) update(now *Reading, fn func(tx *bbolt.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updateLocked(s.clock, now, fn)
}

// updateLocked is update for callers that hold mu; c becomes the clock.
func (s *Store) updateLocked(c clock, now *Reading, fn func(tx *bbolt.Tx) error) error {
	if s.broken != nil {
		return s.broken
	}
	if now != nil {
		c.note(*now)
	}
	err := guard(s.path, nil, func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			if err := fn(tx); err != nil {
				return err
			}
			return c.save(tx)
		})
	})
	if errors.Is(err, ErrDamaged) {
		s.broken = err
	}
	if err != nil {
		return err
	}
	c.unsaved = nil
	s.clock = c
	return nil
}

// guard runs fn, which works on the mapped file, and turns a fault or a panic
// of bbolt into ErrDamaged. Verify makes them unlikely, but the file can still be
// truncated or decay while it is in use. A panic while *foreign is true is one of
// other code, and passes.
func guard(path string, foreign *bool, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if foreign != nil && *foreign {
			return
		}
		if r := recover(); r != nil {
			err = &damagedError{path: path, cause: fmt.Errorf("fault while in use: %v", r)}
		}
	}()
	return fn()
}

// now returns the clock, and the latest boot time that any call told. Entries
// that had expired by then are not in force.
func (s *Store) now() (clock, policy.Deadline, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock, s.clock.last.boot, s.broken
}
