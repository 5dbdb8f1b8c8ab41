package store

import (
	"errors"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.etcd.io/bbolt"

	"github.com/paraxial/paraxial/policy"
)

// sampleLimit returns a limit with a rate of bytes that differs from all other
// numbers in the entry.
func sampleLimit(origin string) policy.Entry {
	e := sampleEntry(origin)
	e.Action, e.Rate = policy.Limit, policy.Rate{PerSecond: 1_250_000_000, Unit: policy.Bytes}
	return e
}

func format(t *testing.T, s *Store) (n uint64) {
	t.Helper()
	err := s.db.View(func(tx *bbolt.Tx) (err error) {
		key := []byte(keyFormat)
		n, err = parseNumber(key, tx.Bucket([]byte(bucketMeta)).Get(key))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// An earlier version would misread a limit. So the first limit raises the format of
// the file, and no other entry does. The limit is read back unchanged, and so is an
// entry that was written before the format was raised.
func TestLimitRaisesFormat(t *testing.T) {
	now := reading("A", 1, 1, true)
	limits := sampleLimit("cli")
	pending := sampleLimit("cli")
	pending.Pending = &policy.Pending{ID: "p", Deadline: 7}
	packets := sampleLimit("cli")
	packets.Rate = policy.Rate{PerSecond: 1, Unit: policy.Packets}
	byApply := func(s *Store, e policy.Entry) error { return s.Apply([]policy.Op{policy.PutOp(e)}, now) }
	bySet := func(s *Store, e policy.Entry) error {
		r, err := s.Begin("cli")
		if err != nil {
			return err
		}
		return errors.Join(r.Add([]policy.Entry{e}), r.Commit(now))
	}
	for _, tc := range []struct {
		name  string
		put   func(*Store, policy.Entry) error
		entry policy.Entry
	}{
		{"by Apply", byApply, limits},
		{"packets", byApply, packets},
		{"pending", byApply, pending},
		{"in a set", bySet, limits},
	} {
		t.Run(tc.name, func(t *testing.T) {
			testRaisesFormat(t, now, tc.entry, func(s *Store) error { return tc.put(s, tc.entry) })
		})
	}
}

func testRaisesFormat(t *testing.T, now Reading, limit policy.Entry, put func(*Store) error) {
	old := sampleEntry("old")
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := Open(path, now)
	if err := errors.Join(err, s.Apply([]policy.Op{policy.PutOp(old)}, now)); err != nil {
		t.Fatal(err)
	}
	if got := format(t, s); got != firstFormat {
		t.Errorf("format %d before, want %d", got, firstFormat)
	}
	if err := errors.Join(put(s), s.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path, now); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := format(t, s); got != limitsFormat {
		t.Errorf("format %d, want %d", got, limitsFormat)
	}
	var got []policy.Entry
	_, err = s.Load(func(e policy.Entry) error {
		got = append(got, e)
		return nil
	})
	want := []policy.Entry{limit, old}
	byOrigin := cmpopts.SortSlices(func(x, y policy.Entry) bool { return x.Origin < y.Origin })
	if diff := cmp.Diff(want, got, byOrigin, cmpopts.EquateComparable(netip.Prefix{})); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// An earlier version does not need the evidence, so it must be able to open a file
// that has some.
func TestEvidenceKeepsFormat(t *testing.T) {
	now := reading("A", 1, 1, true)
	s, err := Open(filepath.Join(t.TempDir(), "state.db"), now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e := sampleEntry("detector:a")
	e.Evidence = &policy.Evidence{Detector: "a", Rate: policy.Rate{PerSecond: 1, Unit: policy.Packets}}
	if err := s.Apply([]policy.Op{policy.PutOp(e)}, now); err != nil {
		t.Fatal(err)
	}
	if got := format(t, s); got != firstFormat {
		t.Errorf("format %d, want %d", got, firstFormat)
	}
}

// A limit without a valid rate, and another entry with a rate, are neither written
// nor read.
func TestRateBelongsToLimit(t *testing.T) {
	without, idle, fast := sampleLimit("cli"), sampleEntry("cli"), sampleLimit("cli")
	without.Rate = policy.Rate{}
	idle.Rate = policy.Rate{PerSecond: 1, Unit: policy.Packets}
	fast.Rate.PerSecond = policy.MaxByteRate + 1
	for _, e := range []policy.Entry{without, idle, fast} {
		if err := checkEntry(e); err == nil {
			t.Errorf("%s with the rate %v can be written", e.Action, e.Rate)
		}
		if e == idle {
			continue // appendEntry writes the rate of limits only
		}
		key := otherKey(nil, e.Key())
		if _, err := decode(key, appendEntry(nil, key, e, 1)); err == nil {
			t.Errorf("%s with the rate %v can be read", e.Action, e.Rate)
		}
	}
}
