package logs

import (
	"bytes"
	"os"
	"testing"
	"time"
)

// TestStore: the newest position that is whole counts, whatever is left of the others.
func TestStore(t *testing.T) {
	dir := t.TempDir()
	s := newStore(dir, "x")
	if _, ok, err := s.load("a"); ok || err != nil {
		t.Fatal("a position without a file", err)
	}
	now := time.Now()
	save := func(cursor string, after time.Duration) {
		t.Helper()
		now = now.Add(after)
		if err := s.save(position{From: "a", Cursor: cursor}, now); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want string) {
		t.Helper()
		if p, ok, err := newStore(dir, "x").load("a"); !ok || err != nil || p.Cursor != want {
			t.Errorf("got %q, %t, %v, want %q", p.Cursor, ok, err, want)
		}
	}
	save("one", 0)
	expect("one")
	save("a longer one", time.Millisecond)
	expect("a longer one")
	save("two", time.Millisecond)
	expect("two")
	recent, err := os.ReadFile(s.recentPath())
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(recent) {
		torn := bytes.Clone(recent)
		torn[n] ^= 1
		os.WriteFile(s.recentPath(), torn, 0o600)
		if p, ok, err := newStore(dir, "x").load("a"); !ok || err != nil || p.Cursor != "one" && p.Cursor != "two" {
			t.Errorf("byte %d is damaged: %+v %t %v", n, p, ok, err)
		}
		os.WriteFile(s.recentPath(), recent[:n], 0o600)
		if p, ok, err := newStore(dir, "x").load("a"); !ok || err != nil || p.Cursor != "one" && p.Cursor != "two" {
			t.Errorf("%d bytes are left: %+v %t %v", n, p, ok, err)
		}
	}
	save("three", 2*time.Second)
	expect("three")
	if _, ok, err := newStore(dir, "x").load("b"); ok || err != nil {
		t.Errorf("the position of another file: %t, %v", ok, err)
	}
	s.close()
	s = newStore(dir, "x") // the next run
	s.load("a")
	save("four", 0)
	expect("four")
	if err := os.WriteFile(s.path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Remove(s.recentPath())
	if _, _, err := newStore(dir, "x").load("a"); err == nil {
		t.Error("a damaged position is accepted")
	}
}
