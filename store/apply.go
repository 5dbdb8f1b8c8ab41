package store

import (
	"fmt"

	"github.com/paraxial/paraxial/policy"
	"go.etcd.io/bbolt"
)

// Apply makes all changes in one durable transaction, or none if it returns an
// error. Removing an entry that does not exist is not an error. If the disk is full,
// the error wraps syscall.ENOSPC, and the store remains usable.
//
// While a replacement of an origin is staged, a change of a confirmed block of that
// origin goes to the set in force. It is lost when the replacement is committed.
func (s *Store) Apply(ops []policy.Op, now Reading) error {
	for _, op := range ops {
		if err := checkOp(op); err != nil {
			return fmt.Errorf("store entry: %w", err)
		}
	}
	err := s.update(&now, func(tx *bbolt.Tx) error {
		w := writer{store: s, tx: tx}
		for _, op := range ops {
			if err := w.apply(op); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store %d changes: %w", len(ops), err)
	}
	return nil
}

func checkOp(op policy.Op) error {
	if op.IsPut() {
		if err := policy.ValidOrigin(op.Put.Origin); err != nil {
			return err
		}
		return checkEntry(op.Put)
	}
	if err := policy.ValidOrigin(op.Remove.Origin); err != nil {
		return err
	}
	return checkKey(op.Remove)
}

// writer makes changes in one transaction.
type writer struct {
	store *Store
	tx    *bbolt.Tx
	key   []byte
}

func (w *writer) apply(op policy.Op) error {
	if !op.IsPut() {
		return w.remove(op.Remove)
	}
	bucket, err := w.bucket(op.Put.Key(), true)
	if err != nil {
		return err
	}
	if err := raiseFormat(w.tx, op.Put); err != nil {
		return err
	}
	return bucket.Put(w.key, appendEntry(nil, w.key, op.Put, w.store.clock.current))
}

func (w *writer) remove(k policy.Key) error {
	bucket, err := w.bucket(k, false)
	if err != nil || bucket == nil {
		return err
	}
	return bucket.Delete(w.key)
}

// inSet reports whether an entry belongs to the set of its origin.
func inSet(k policy.Key) bool { return k.Kind == policy.Block && k.Pending == "" }

// bucket returns the bucket of an entry and sets w.key to its key in that bucket.
// The bucket is nil if the origin has no set and create is false.
func (w *writer) bucket(k policy.Key, create bool) (*bbolt.Bucket, error) {
	if !inSet(k) {
		w.key = otherKey(w.key[:0], k)
		return w.tx.Bucket([]byte(bucketOthers)), nil
	}
	w.key = appendKey(w.key[:0], k)
	id, err := originSet(w.tx, k.Origin)
	if err != nil {
		return nil, err
	}
	if id != 0 {
		return w.tx.Bucket([]byte(bucketSets)).Bucket(setKey(id)), nil
	}
	if !create {
		return nil, nil
	}
	id, bucket, err := w.store.createSet(w.tx)
	if err != nil {
		return nil, err
	}
	return bucket, pointOrigin(w.tx, k.Origin, id)
}

// originSet returns the number of the set of an origin, or 0 if it has none.
func originSet(tx *bbolt.Tx, origin string) (uint64, error) {
	key := []byte(origin)
	value := tx.Bucket([]byte(bucketOrigins)).Get(key)
	if value == nil {
		return 0, nil
	}
	return parseNumber(key, value)
}

// pointOrigin makes set id the set of an origin.
func pointOrigin(tx *bbolt.Tx, origin string, id uint64) error {
	return putSealed(tx.Bucket([]byte(bucketOrigins)), []byte(origin), number(id))
}

// createSet makes an empty set with the next number. The caller holds mu.
func (s *Store) createSet(tx *bbolt.Tx) (uint64, *bbolt.Bucket, error) {
	s.lastSet++
	bucket, err := tx.Bucket([]byte(bucketSets)).CreateBucket(setKey(s.lastSet))
	return s.lastSet, bucket, err
}

// Checkpoint records the present time. It should be called every few minutes: after
// a reboot, the ledger continues at the last checkpoint. Without a synchronised wall
// clock, the time since then is not subtracted from deadlines.
func (s *Store) Checkpoint(now Reading) error {
	if err := s.update(&now, func(*bbolt.Tx) error { return nil }); err != nil {
		return fmt.Errorf("store checkpoint: %w", err)
	}
	return nil
}

// Resync adds the time that the machine was off to the ledger, if that time was
// unknown before and is known now; see the package comment. It must be called when
// the wall clock becomes synchronised. A second call does nothing. If it returns
// true, deadlines of entries from earlier boots are now earlier, and Load returns
// the new ones.
func (s *Store) Resync(now Reading) (changed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clock
	moved, settled := c.settle(now)
	if !settled {
		return false, s.broken
	}
	if err := s.updateLocked(c, &now, func(*bbolt.Tx) error { return nil }); err != nil {
		return false, fmt.Errorf("store the time of the synchronised clock: %w", err)
	}
	return moved, nil
}

// Slots returns the counter slot of every interface name that has one.
func (s *Store) Slots() (map[string]uint32, error) {
	slots := make(map[string]uint32)
	err := s.view(nil, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketSlots)).ForEach(func(k, v []byte) error {
			n, err := parseNumber(k, v)
			slots[string(k)] = uint32(n)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read slots: %w", err)
	}
	return slots, nil
}

// PutSlot records the slot of an interface name and replaces an earlier one.
func (s *Store) PutSlot(name string, slot uint32) error {
	err := s.update(nil, func(tx *bbolt.Tx) error {
		return putSealed(tx.Bucket([]byte(bucketSlots)), []byte(name), number(uint64(slot)))
	})
	if err != nil {
		return fmt.Errorf("store slot of %q: %w", name, err)
	}
	return nil
}

// DeleteSlot deletes the slot of an interface name, if it has one.
func (s *Store) DeleteSlot(name string) error {
	err := s.update(nil, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketSlots)).Delete([]byte(name))
	})
	if err != nil {
		return fmt.Errorf("delete slot of %q: %w", name, err)
	}
	return nil
}
