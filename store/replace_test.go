package store

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/paraxial/paraxial/policy"
	"go.etcd.io/bbolt"
)

// A killed process leaves the file as it is at that moment. So the test opens a copy
// of the file after each step of a replacement, as the next process would.
func TestReplacementKilledBetweenSteps(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "state.db"), reading("A", 1, 1, true)
	s, err := Open(path, now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	entry := func(reason string) policy.Entry {
		e := sampleEntry("list")
		e.Reason = reason
		return e
	}
	var r *Replacement
	steps := []struct {
		name string
		do   func() error
		want string
		sets int // after the next Load, which removes leftovers
	}{
		{"put", func() error { return s.Apply([]policy.Op{policy.PutOp(entry("old"))}, now) }, "old", 1},
		{"begin", func() (err error) { r, err = s.Begin("list"); return err }, "old", 1},
		{"add", func() error { return r.Add([]policy.Entry{entry("new")}) }, "old", 1},
		{"flip", func() error { _, err := r.flip(now); return err }, "new", 1},
		{"drop", func() error { r.finish(); return s.dropSet(1) }, "new", 1},
		{"begin another", func() (err error) { r, err = s.Begin("list"); return err }, "new", 1},
		{"add to it", func() error { return r.Add([]policy.Entry{entry("never")}) }, "new", 1},
		{"abort", func() error { return r.Abort() }, "new", 1},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatal(step.name, err)
		}
		reasons, sets := reopen(t, copyFile(t, path), now)
		if len(reasons) != 1 || reasons[0] != step.want || sets != step.sets {
			t.Errorf("killed after %s: entries %q in %d sets, want %q in %d",
				step.name, reasons, sets, step.want, step.sets)
		}
	}
}

// copyFile returns the path of a copy of a file.
func copyFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return copied
}

// reopen returns the reasons of all entries and the number of sets.
func reopen(t *testing.T, path string, now Reading) (reasons []string, sets int) {
	t.Helper()
	s, err := Open(path, now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	stats, err := s.Load(func(e policy.Entry) error { reasons = append(reasons, e.Reason); return nil })
	if err := errors.Join(err, stats.Sweep); err != nil {
		t.Fatal(err)
	}
	err = s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucketSets)).ForEachBucket(func([]byte) error { sets++; return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return reasons, sets
}

func TestNewerFormat(t *testing.T) {
	path, now := filepath.Join(t.TempDir(), "state.db"), reading("A", 1, 1, true)
	s, err := Open(path, now)
	if err != nil {
		t.Fatal(err)
	}
	err = s.db.Update(func(tx *bbolt.Tx) error {
		// A file of a newer format may have rows that this version cannot read.
		return errors.Join(
			putSealed(tx.Bucket([]byte(bucketMeta)), []byte(keyFormat), number(newestFormat+1)),
			tx.Bucket([]byte(bucketEpochs)).Put([]byte("?"), []byte("?")),
		)
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	_, err = Open(path, now)
	if !errors.Is(err, ErrNewerFormat) || errors.Is(err, ErrDamaged) {
		t.Errorf("Open: %v", err)
	}
	for _, want := range []string{path, "written by a newer paraxiald (format 3, this one reads 2)"} {
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("the error does not contain %q: %v", want, err)
		}
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
}

// Open must not write, because the daemon has to start on a full disk.
func TestOpenDoesNotWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := Open(path, reading("A", 1, 1, true))
	put := []policy.Op{policy.PutOp(sampleEntry("cli"))}
	if err := errors.Join(err, s.Apply(put, reading("A", 2, 2, true)), s.Close()); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	if reasons, _ := reopen(t, path, reading("B", 1, 9, true)); len(reasons) != 1 {
		t.Errorf("%d entries", len(reasons))
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("Open in a new boot, or a Load that found nothing to delete, changed the file")
	}
}

// While another writer waits, a replacement gives up its transaction after some entries. Otherwise it
// needs one for all.
func TestReplacementLetsOthersWrite(t *testing.T) {
	now := reading("A", 1, 1, true)
	s, err := Open(filepath.Join(t.TempDir(), "state.db"), now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	transactions := func() (id int) {
		if err := s.db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }); err != nil {
			t.Fatal(err)
		}
		return id
	}
	entries := make([]policy.Entry, 4*waitStep)
	for i := range entries {
		entries[i] = sampleEntry("list")
		entries[i].Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 32)
	}
	for _, tt := range []struct {
		waiting int32
		want    int
	}{{0, 1}, {1, 4}} {
		r, err := s.Begin("list")
		if err != nil {
			t.Fatal(err)
		}
		before := transactions()
		s.waiting.Store(tt.waiting)
		err = r.Add(entries)
		s.waiting.Store(0)
		if got := transactions() - before; err != nil || got != tt.want {
			t.Errorf("%d wait: %d transactions, %v; want %d", tt.waiting, got, err, tt.want)
		}
		if err := r.Commit(now); err != nil {
			t.Fatal(err)
		}
		if reasons, _ := reopen(t, copyFile(t, s.path), now); len(reasons) != len(entries) {
			t.Errorf("%d wait: %d entries, want %d", tt.waiting, len(reasons), len(entries))
		}
	}
}
