package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/paraxial/paraxial/policy"
)

// list returns blocks of the origin blocklist, 198.51.100.i/32 for each i.
func list(i ...int) (entries []policy.Entry) {
	for _, n := range i {
		entries = append(entries, block(fmt.Sprintf("198.51.100.%d/32", n), "blocklist", policy.Forever))
	}
	return entries
}

func TestReplacement(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"), at(1))
	allow := list(1)[0]
	allow.Kind, allow.Action = policy.Allow, policy.NoAction
	pending := list(2)[0]
	pending.Pending = &policy.Pending{ID: "p", Deadline: policy.Forever}
	kept := []policy.Entry{allow, pending, block("198.51.100.1/32", "cli", policy.Forever)}
	apply(t, s, at(1), puts(append(list(1, 2, 3), kept...)...)...)

	r, err := s.Begin("blocklist")
	if err != nil {
		t.Fatal(err)
	}
	changed := list(9)[0]
	changed.Reason = "the later one stays"
	for _, batch := range [][]policy.Entry{list(9, 3), nil, {changed}, list(4)} {
		if err := r.Add(batch); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range kept {
		if err := r.Add([]policy.Entry{e}); err == nil {
			t.Errorf("Add accepted %+v", e)
		}
	}
	wantEntries(t, s, append(list(1, 2, 3), kept...)...)
	// A change of the same origin in the meantime is in force until Commit.
	apply(t, s, at(1), append(puts(list(7)...), policy.RemoveOp(list(3)[0].Key()))...)
	wantEntries(t, s, append(list(1, 2, 7), kept...)...)

	if err := r.Commit(at(1)); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, s, append(append(list(3, 4), changed), kept...)...)
	apply(t, s, at(1), policy.RemoveOp(changed.Key()))
	if r.Commit(at(1)) == nil || r.Add(nil) == nil || r.Abort() != nil {
		t.Error("a committed replacement can still be used")
	}
	wantEntries(t, s, append(list(3, 4), kept...)...)
}

// A replacement that is aborted, or open when the store is closed, has no effect.
func TestReplacementNotCommitted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path, at(1))
	apply(t, s, at(1), puts(list(3, 4)...)...)
	r, err := s.Begin("blocklist")
	if err := errors.Join(err, r.Add(list(50)), r.Abort(), r.Abort()); err != nil {
		t.Fatal(err)
	}
	if r, err = s.Begin("blocklist"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Add(list(60)), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, at(1))
	wantEntries(t, s, list(3, 4)...)
}
