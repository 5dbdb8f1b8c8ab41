package store

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/paraxial/paraxial/policy"
	"go.etcd.io/bbolt"
)

// Store is the open book on disk. Its methods are safe for concurrent use; writers
// wait for one another.
type Store struct {
	path string
	file *os.File // owned by db while that is open

	mu     sync.Mutex // held by a writer for its whole transaction
	db     *bbolt.DB
	clock  clock
	staged map[uint64]bool // sets that replacements are filling
	broken error           // the error that made the store unusable

	waiting atomic.Int32 // writers that wait for mu or have it, but for replacements

	// lastSet is the highest number of a set. A number is not reused, so that
	// nobody removes the wrong set.
	lastSet uint64
}

// Close closes the store and releases its lock. It waits for running transactions.
// Replacements that were not committed are lost.
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

// abandon closes the file without bbolt, which may hold its own locks forever after
// a fault. The mapping of the file stays and would keep the lock of the file, so
// abandon unlocks the file first.
func (s *Store) abandon() error {
	return errors.Join(syscall.Flock(int(s.file.Fd()), syscall.LOCK_UN), s.file.Close())
}

// update runs fn and writes the rows of the clock in one durable transaction. If it
// fails, nothing was changed. now is the checkpoint to write, or nil for none.
func (s *Store) update(now *Reading, fn func(tx *bbolt.Tx) error) error {
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updateLocked(s.clock, now, fn)
}

// updateLocked is update for callers that hold mu. c becomes the clock.
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

// guard runs fn, which works on the mapped file, and turns a fault or a panic of
// bbolt into ErrDamaged. Verify makes them unlikely, but the file can still be
// truncated or damaged while it is in use. A panic while *foreign is true comes from
// other code, and guard does not recover it.
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

// epoch returns the number of the present boot.
func (s *Store) epoch() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock.current
}

// now returns the clock and the latest boot time of any Reading. Entries that had
// expired by then are not in force.
func (s *Store) now() (clock, policy.Deadline, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock, s.clock.last.boot, s.broken
}
