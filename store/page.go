package store

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/paraxial/paraxial/policy"
)

// Page returns up to n confirmed blocks of an origin in the order of their prefixes. from is nil
// at first, and then what the last call returned as next, which is nil at the end. It holds no
// transaction between two calls, so changes need not wait for a reader that waits for them.
func (s *Store) Page(origin string, from []byte, n int) (entries []policy.Entry, next []byte, err error) {
	c, now, err := s.now()
	if err != nil {
		return nil, nil, err
	}
	l := loader{path: s.path, clock: c, now: now, yield: func(e policy.Entry) error {
		entries = append(entries, e)
		return nil
	}}
	err = s.view(&l.yielding, func(tx *bbolt.Tx) error {
		value := tx.Bucket([]byte(bucketOrigins)).Get([]byte(origin))
		if value == nil {
			return nil
		}
		id, err := parseNumber([]byte(origin), value)
		if err != nil {
			return fmt.Errorf("origin %q: %w", origin, err)
		}
		cursor := tx.Bucket([]byte(bucketSets)).Bucket(setKey(id)).Cursor()
		k, v := cursor.Seek(from)
		for ; k != nil && n > 0; n-- {
			if err := l.entry(origin, k, k, v); err != nil {
				return err
			}
			k, v = cursor.Next()
		}
		next = bytes.Clone(k)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read the entries of %s: %w", origin, err)
	}
	return entries, next, nil
}
