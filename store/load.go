package store

import (
	"errors"
	"fmt"

	"github.com/paraxial/paraxial/policy"
	"go.etcd.io/bbolt"
)

// LoadStats is the result of Load.
type LoadStats struct {
	Live    int // entries passed to yield
	Expired int // entries that were skipped
	// Sweep is the error of deleting expired entries and leftovers of
	// replacements, usually a full disk. The entries are not in force, and the
	// next Load tries again.
	Sweep error
}

// Load passes every live entry to yield, with its deadline in the boot time of the
// present boot, in no particular order. It skips entries that had expired at the
// latest Reading, and deletes them afterwards. Load ends with the first error of
// yield and returns it. yield must not call the store.
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

// view runs fn in a read transaction. See guard for foreign.
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

// read decodes an entry and converts its deadlines to the present boot. Open has
// checked all entries, so an entry that cannot be read was damaged since then.
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
	s.mu.Lock() // no replacement may begin or end between the two reads
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

// Limits of one transaction of a sweep. maxSweepScan limits the time that other
// writers wait, and maxSweepDelete the pages that are rewritten.
const (
	maxSweepScan   = 100_000
	maxSweepDelete = 10_000
)

// sweepBucket deletes the expired entries of a bucket in several transactions. Each
// of them reads the entries again, because others may have changed them.
func (s *Store) sweepBucket(bucket func(*bbolt.Tx) *bbolt.Bucket, entryKey func([]byte) ([]byte, error)) error {
	var from []byte
	for done := false; !done; {
		err := s.update(nil, func(tx *bbolt.Tx) error {
			b := bucket(tx)
			if b == nil { // was replaced in the meantime
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

// errNothing ends a transaction without a write, if there is nothing to write.
var errNothing = errors.New("nothing to do")

// expired returns the keys of expired entries at or after from, and the key at which
// to continue; next is nil at the end.
func (l *loader) expired(
	b *bbolt.Bucket, from []byte, entryKey func([]byte) ([]byte, error),
) (keys [][]byte, next []byte, err error) {
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
