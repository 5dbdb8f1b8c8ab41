package store

import (
	"errors"
	"fmt"

	"github.com/paraxial/paraxial/policy"
	"go.etcd.io/bbolt"
)

// LoadStats tells what Load found.
type LoadStats struct {
	Live    int // entries given to yield
	Expired int // entries left out
	// Sweep is why expired entries and leftovers of replacements could not be
	// deleted, nil if they were. They are not in force, and the next Load tries
	// again; a full disk is the usual cause.
	Sweep error
}

// Load gives every live entry to yield, with its deadline in the present boot's
// time, in no particular order. Entries that had expired at the latest Reading
// are left out, and deleted afterwards. An error of yield ends Load, which
// returns it. yield must not call the store.
func (s *Store) Load(yield func(policy.Entry) error) (LoadStats, error) {
	c, now, err := s.now()
	if err != nil {
		return LoadStats{}, err
	}
	l := loader{path: s.path, clock: c, now: now, yield: yield}
	if err := s.view(&l.yielding, l.all); err != nil {
		return LoadStats{}, fmt.Errorf("load entries: %w", err)
	}
	l.stats.Sweep = s.sweep(l.stats.Expired > 0)
	return l.stats, nil
}

// view runs fn in a read transaction. For foreign see guard.
func (s *Store) view(foreign *bool, fn func(tx *bbolt.Tx) error) error {
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	if broken != nil {
		return broken
	}
	err := guard(s.path, foreign, func() error { return s.db.View(fn) })
	if errors.Is(err, ErrDamaged) {
		s.mu.Lock()
		s.broken = err
		s.mu.Unlock()
	}
	return err
}

// loader reads all entries in force.
type loader struct {
	path     string
	clock    clock
	now      policy.Deadline
	yield    func(policy.Entry) error
	yielding bool
	decoder  entryDecoder
	stats    LoadStats
}

func (l *loader) all(tx *bbolt.Tx) error {
	sets := tx.Bucket([]byte(bucketSets))
	err := tx.Bucket([]byte(bucketOrigins)).ForEach(func(k, v []byte) error {
		id, err := parseNumber(k, v)
		if err != nil {
			return fmt.Errorf("origin %q: %w", k, err)
		}
		origin := string(k)
		return sets.Bucket(setKey(id)).ForEach(func(k, v []byte) error {
			return l.entry(origin, k, k, v)
		})
	})
	if err != nil {
		return err
	}
	return tx.Bucket([]byte(bucketOthers)).ForEach(func(k, v []byte) error {
		origin, entryKey, err := splitOther(k)
		if err != nil {
			return err
		}
		return l.entry(string(origin), k, entryKey, v)
	})
}

func (l *loader) entry(origin string, key, entryKey, value []byte) error {
	e, err := l.read(key, entryKey, value)
	if err != nil {
		return err
	}
	if !e.Live(l.now) {
		l.stats.Expired++
		return nil
	}
	l.stats.Live++
	e.Origin = origin
	l.yielding = true
	err = l.yield(e)
	l.yielding = false
	return err
}

// read decodes an entry and moves its deadlines to the present boot's time.
// Open has checked all entries, so one that cannot be read decayed since.
func (l *loader) read(key, entryKey, value []byte) (policy.Entry, error) {
	e, err := l.decoder.entry(key, entryKey, value)
	if err == nil {
		e.Deadline, err = l.clock.deadline(e.Deadline, e.epoch)
	}
	if err == nil && e.Pending != nil {
		e.Pending.Deadline, err = l.clock.deadline(e.Pending.Deadline, e.epoch)
	}
	if err != nil {
		return policy.Entry{}, &damagedError{path: l.path, cause: fmt.Errorf("entry %x: %w", key, err)}
	}
	return e.Entry, nil
}

// sweep deletes the sets that no origin points to and, if expired is true,
// expired entries.
func (s *Store) sweep(expired bool) error {
	leftovers, inForce, err := s.sets()
	if err != nil {
		return err
	}
	for _, id := range leftovers {
		if err := s.dropSet(id); err != nil {
			return fmt.Errorf("remove leftover set %d: %w", id, err)
		}
	}
	if !expired {
		return nil
	}
	for _, id := range inForce {
		if err := s.sweepBucket(setBucket(id), wholeKey); err != nil {
			return fmt.Errorf("delete expired entries: %w", err)
		}
	}
	if err := s.sweepBucket(othersBucket, withoutOrigin); err != nil {
		return fmt.Errorf("delete expired entries: %w", err)
	}
	return nil
}

// sets returns the numbers of all sets but those being filled.
func (s *Store) sets() (leftovers, inForce []uint64, err error) {
	s.mu.Lock() // no replacement may begin or end between the two looks
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil, nil, s.broken
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		pointed := make(map[uint64]bool)
		err := tx.Bucket([]byte(bucketOrigins)).ForEach(func(k, v []byte) error {
			id, err := parseNumber(k, v)
			pointed[id] = true
			inForce = append(inForce, id)
			return err
		})
		if err != nil {
			return err
		}
		return tx.Bucket([]byte(bucketSets)).ForEachBucket(func(k []byte) error {
			id, err := parseSetKey(k)
			if !pointed[id] && !s.staged[id] {
				leftovers = append(leftovers, id)
			}
			return err
		})
	})
	return leftovers, inForce, err
}

func setBucket(id uint64) func(*bbolt.Tx) *bbolt.Bucket {
	return func(tx *bbolt.Tx) *bbolt.Bucket { return tx.Bucket([]byte(bucketSets)).Bucket(setKey(id)) }
}

func othersBucket(tx *bbolt.Tx) *bbolt.Bucket { return tx.Bucket([]byte(bucketOthers)) }

func wholeKey(key []byte) ([]byte, error) { return key, nil }

func withoutOrigin(key []byte) ([]byte, error) {
	_, entryKey, err := splitOther(key)
	return entryKey, err
}

// Bounds of one transaction of a sweep: of the time that it holds up others,
// and of the pages that it rewrites.
const (
	maxSweepScan   = 100_000
	maxSweepDelete = 10_000
)

// sweepBucket deletes the expired entries of a bucket, in transactions that
// each look at the entries afresh: others may have changed them.
func (s *Store) sweepBucket(bucket func(*bbolt.Tx) *bbolt.Bucket, entryKey func([]byte) ([]byte, error)) error {
	var from []byte
	for done := false; !done; {
		err := s.update(nil, func(tx *bbolt.Tx) error {
			b := bucket(tx)
			if b == nil { // replaced meanwhile
				done = true
				return errNothing
			}
			l := loader{path: s.path, clock: s.clock, now: s.clock.last.boot}
			expired, next, err := l.expired(b, from, entryKey)
			if err != nil {
				return err
			}
			from, done = next, next == nil
			for _, k := range expired {
				if err := b.Delete(k); err != nil {
					return err
				}
			}
			if len(expired) == 0 {
				return errNothing
			}
			return nil
		})
		if err != nil && !errors.Is(err, errNothing) {
			return err
		}
	}
	return nil
}

// errNothing spares a write to disk where there is nothing to write.
var errNothing = errors.New("nothing to do")

// expired returns keys of expired entries from a key on, and where to go on;
// nil at the end.
func (l *loader) expired(b *bbolt.Bucket, from []byte, entryKey func([]byte) ([]byte, error)) (keys [][]byte, next []byte, err error) {
	c := b.Cursor()
	k, v := c.Seek(from)
	for scanned := 0; k != nil; scanned++ {
		if scanned >= maxSweepScan || len(keys) >= maxSweepDelete {
			return keys, append([]byte(nil), k...), nil
		}
		ek, err := entryKey(k)
		if err != nil {
			return nil, nil, err
		}
		e, err := l.read(k, ek, v)
		if err != nil {
			return nil, nil, err
		}
		if !e.Live(l.now) {
			keys = append(keys, append([]byte(nil), k...))
		}
		k, v = c.Next()
	}
	return keys, nil, nil
}
