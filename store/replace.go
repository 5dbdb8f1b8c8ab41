package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/paraxial/paraxial/policy"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// maxBatch is the most entries of one transaction. A transaction of a million
	// takes 300 MB and seconds, during which nobody else can write.
	maxBatch = 50_000

	// waitStep is the number of entries that are staged before those who wait for the
	// transaction are seen.
	waitStep = 512

	// bulkFill leaves room for a few later changes in pages that are filled in
	// order.
	bulkFill = 0.95
)

var errFinished = errors.New("replacement was already committed or aborted")

// Replacement is a new set of the confirmed blocks of one origin. It is filled
// beside the set in force, and Commit puts it in force instead. Allows and pending
// entries of the origin are not part of it. If it is not committed, it has no
// effect.
type Replacement struct {
	store  *Store
	origin string
	set    uint64

	mu       sync.Mutex
	finished bool
	rows     rows // memory for Add
}

// Begin stages an empty replacement. If there are two for the same origin, the one
// that is committed last stays.
func (s *Store) Begin(origin string) (*Replacement, error) {
	r := &Replacement{store: s, origin: origin}
	if err := policy.ValidOrigin(origin); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.updateLocked(s.clock, nil, func(tx *bbolt.Tx) (err error) {
		r.set, _, err = s.createSet(tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("stage entries of %s: %w", origin, err)
	}
	s.staged[r.set] = true
	return r, nil
}

// Add stages entries, which must be confirmed blocks of the origin. It is fastest if
// all entries are in the order of family, address and length. Of two entries with
// the same prefix the later one stays. After an error, some entries may be staged,
// and the caller should call Abort.
func (r *Replacement) Add(entries []policy.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.finished {
		return errFinished
	}
	for batch := range slices.Chunk(entries, maxBatch) {
		if err := r.add(batch); err != nil {
			return fmt.Errorf("stage entries of %s: %w", r.origin, err)
		}
	}
	return nil
}

type row struct{ key, value []byte }

func (r *Replacement) add(entries []policy.Entry) error {
	for _, e := range entries {
		if e.Origin != r.origin || !inSet(e.Key()) {
			return fmt.Errorf("%s of %s is not a confirmed block of this origin", e.Prefix, e.Origin)
		}
		if err := checkEntry(e); err != nil {
			return err
		}
	}
	r.rows.encode(entries, r.store.epoch())
	for rest := r.rows.sorted; len(rest) > 0; {
		n, err := r.addRows(entries, rest)
		if err != nil {
			return err
		}
		rest, entries = rest[n:], nil
	}
	return nil
}

// addRows stages rows in one transaction, and returns how many. While another writer waits, these
// are not all. It raises the format for entries.
func (r *Replacement) addRows(entries []policy.Entry, rows []row) (n int, err error) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	err = r.store.updateLocked(r.store.clock, nil, func(tx *bbolt.Tx) error {
		set := tx.Bucket([]byte(bucketSets)).Bucket(setKey(r.set))
		set.FillPercent = bulkFill
		for _, e := range entries {
			if err := raiseFormat(tx, e); err != nil {
				return err
			}
		}
		for n < len(rows) && (n == 0 || n%waitStep != 0 || r.store.waiting.Load() == 0) {
			if err := set.Put(rows[n].key, rows[n].value); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}

// rows are encoded entries in the order of their keys, so that bbolt need not move
// elements within a page. The memory is used again.
type rows struct {
	sorted []row
	text   []byte
}

func (r *rows) encode(entries []policy.Entry, epoch uint32) {
	r.sorted, r.text = r.sorted[:0], r.text[:0]
	for _, e := range entries {
		start := len(r.text)
		r.text = appendKey(r.text, e.Key())
		key := r.text[start:len(r.text):len(r.text)]
		start = len(r.text)
		r.text = appendEntry(r.text, key, e, epoch)
		// Where text grows, the rows before keep the memory that they had.
		r.sorted = append(r.sorted, row{key: key, value: r.text[start:len(r.text):len(r.text)]})
	}
	slices.SortStableFunc(r.sorted, func(a, b row) int { return bytes.Compare(a.key, b.key) })
}

// Commit puts the replacement in force in one small transaction, and then removes
// the previous set. Commit succeeds even if the removal fails or is interrupted: the
// next Load then removes the rest.
func (r *Replacement) Commit(now Reading) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.finished {
		return errFinished
	}
	old, err := r.flip(now)
	if err != nil {
		return fmt.Errorf("put the new entries of %s in force: %w", r.origin, err)
	}
	r.finish()
	if old != 0 {
		_ = r.store.dropSet(old) // is not in force any more; Load tries again
	}
	return nil
}

// flip points the origin to the new set and returns the number of the old one.
func (r *Replacement) flip(now Reading) (old uint64, err error) {
	err = r.store.update(&now, func(tx *bbolt.Tx) error {
		if old, err = originSet(tx, r.origin); err != nil {
			return err
		}
		return pointOrigin(tx, r.origin, r.set)
	})
	return old, err
}

// Abort removes the staged entries. After Commit it does nothing, so that it can be
// deferred.
func (r *Replacement) Abort() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.finished {
		return nil
	}
	r.finish()
	if err := r.store.dropSet(r.set); err != nil {
		return fmt.Errorf("remove staged entries of %s: %w; the next start removes them", r.origin, err)
	}
	return nil
}

func (r *Replacement) finish() {
	r.finished = true
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	delete(r.store.staged, r.set)
}

// dropSet removes a set that no origin points to. bbolt frees its pages without
// rewriting them, so this is fast for a large set too.
func (s *Store) dropSet(id uint64) error {
	err := s.update(nil, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketSets)).DeleteBucket(setKey(id))
	})
	if errors.Is(err, bolterrors.ErrBucketNotFound) {
		return nil // Load was faster
	}
	return err
}
