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

// sampleLimit has a rate of bytes, like no other number in it.
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

// An older program would take a limit for what it is not. So the first limit
// raises the format of the file, and nothing else does. What is stored comes
// back, also beside what a program of before has written.
func TestLimitRaisesFormat(t *testing.T) {
	now := reading("A", 1, 1, true)
	old := sampleEntry("old")
	limits := sampleLimit("cli")
	pending := sampleLimit("cli")
	pending.Pending = &policy.Pending{ID: "p", Deadline: 7}
	packets := sampleLimit("cli")
	packets.Rate = policy.Rate{PerSecond: 1, Unit: policy.Packets}
	for _, tc := range []struct {
		name string
		put  func(s *Store) error
		want []policy.Entry
	}{
		{"by hand", func(s *Store) error { return s.Apply([]policy.Op{policy.PutOp(limits)}, now) }, []policy.Entry{limits, old}},
		{"packets", func(s *Store) error { return s.Apply([]policy.Op{policy.PutOp(packets)}, now) }, []policy.Entry{packets, old}},
		{"pending", func(s *Store) error { return s.Apply([]policy.Op{policy.PutOp(pending)}, now) }, []policy.Entry{pending, old}},
		{"in a set", func(s *Store) error {
			r, err := s.Begin("cli")
			if err != nil {
				return err
			}
			return errors.Join(r.Add([]policy.Entry{limits}), r.Commit(now))
		}, []policy.Entry{limits, old}},
	} {
		path := filepath.Join(t.TempDir(), "state.db")
		s, err := Open(path, now)
		if err := errors.Join(err, s.Apply([]policy.Op{policy.PutOp(old)}, now)); err != nil {
			t.Fatal(err)
		}
		if got := format(t, s); got != firstFormat {
			t.Errorf("%s: format %d before, want %d", tc.name, got, firstFormat)
		}
		if err := errors.Join(tc.put(s), s.Close()); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if s, err = Open(path, now); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if got := format(t, s); got != limitsFormat {
			t.Errorf("%s: format %d, want %d", tc.name, got, limitsFormat)
		}
		var got []policy.Entry
		_, err = s.Load(func(e policy.Entry) error {
			got = append(got, e)
			return nil
		})
		byOrigin := cmpopts.SortSlices(func(x, y policy.Entry) bool { return x.Origin < y.Origin })
		if diff := cmp.Diff(tc.want, got, byOrigin, cmpopts.EquateComparable(netip.Prefix{})); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tc.name, err, diff)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A program of before can do without the evidence, so it can open a file that has
// some.
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

// A limit without a rate, and a rate without a limit, are neither written nor
// read.
func TestRateBelongsToLimit(t *testing.T) {
	without, idle, fast := sampleLimit("cli"), sampleEntry("cli"), sampleLimit("cli")
	without.Rate = policy.Rate{}
	idle.Rate = policy.Rate{PerSecond: 1, Unit: policy.Packets}
	fast.Rate.PerSecond = policy.MaxByteRate + 1
	for _, e := range []policy.Entry{without, idle, fast} {
		if err := checkEntry(e); err == nil {
			t.Errorf("%s at %v can be written", e.Action, e.Rate)
		}
		if e == idle {
			continue // its rate has no way to the disk
		}
		key := otherKey(nil, e.Key())
		if _, err := decode(key, appendEntry(nil, key, e, 1)); err == nil {
			t.Errorf("%s at %v can be read", e.Action, e.Rate)
		}
	}
}
