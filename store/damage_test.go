package store_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

// subject is a small file with all kinds of rows and pages that can be damaged.
type subject struct {
	path    string
	good    []byte
	entries []policy.Entry
	slots   map[string]uint32
}

func newSubject(t *testing.T) subject {
	t.Helper()
	sub := subject{path: filepath.Join(t.TempDir(), "state.db"), slots: map[string]uint32{"eth0": 1, "eth1": 2}}
	s := open(t, sub.path, at(1))
	stage(t, s, "list", 300) // is replaced in the next line, which leaves free pages
	stage(t, s, "list", 150)
	allow := block("203.0.113.0/24", "cli", policy.Forever)
	allow.Kind, allow.Action = policy.Allow, policy.NoAction
	pending := block("2001:db8::/32", "cli", 90*hour)
	pending.Pending = &policy.Pending{ID: "1", Deadline: policy.Forever}
	apply(t, s, at(1), puts(append(numbered("cli", 3, policy.Forever), allow, pending)...)...)
	for name, slot := range sub.slots {
		if err := s.PutSlot(name, slot); err != nil {
			t.Fatal(err)
		}
	}
	sub.entries, _ = loadAll(t, s)
	s.Close()
	good, err := os.ReadFile(sub.path)
	if err != nil {
		t.Fatal(err)
	}
	sub.good = good
	if len(sub.entries) != 155 || sub.check(t) != "harmless" {
		t.Fatal("the undamaged file is not good")
	}
	return sub
}

// check opens the file as it is now. It returns "refused" or "harmless", or else a
// description of a failure: other content or another error.
func (sub subject) check(t *testing.T) string {
	t.Helper()
	var got []policy.Entry
	s, err := store.Open(sub.path, at(1))
	if err == nil {
		defer s.Close()
		_, err = s.Load(func(e policy.Entry) error { got = append(got, e); return nil })
	}
	if errors.Is(err, store.ErrDamaged) {
		if len(got) != 0 {
			t.Errorf("Load passed %d entries before the error %v", len(got), err)
		}
		return "refused"
	}
	if err != nil {
		return err.Error()
	}
	if d := diffEntries(sub.entries, got); d != "" {
		return "other entries: " + d
	}
	if slots, err := s.Slots(); err != nil || !maps.Equal(slots, sub.slots) {
		return fmt.Sprint("other slots: ", slots, err)
	}
	return "harmless"
}

// spoil writes data at an offset, checks the file and restores it.
func (sub subject) spoil(t *testing.T, data []byte, at int) string {
	t.Helper()
	f, err := os.OpenFile(sub.path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, int64(at)); err != nil {
		t.Fatal(err)
	}
	outcome := sub.check(t)
	if _, err := f.WriteAt(sub.good[at:at+len(data)], int64(at)); err != nil {
		t.Fatal(err)
	}
	return outcome
}

// tally counts outcomes and reports failures.
func tally(t *testing.T, counts map[string]int, outcome, what string) {
	t.Helper()
	counts[outcome]++
	if outcome != "refused" && outcome != "harmless" {
		t.Errorf("%s: %s", what, outcome)
	}
}

func TestFlippedBit(t *testing.T) {
	sub := newSubject(t)
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	step := 11
	if testing.Short() {
		step = 47
	}
	counts := make(map[string]int)
	for at := rng.IntN(step); at < len(sub.good); at += 1 + rng.IntN(2*step-1) {
		// Most zero bytes are in pages that nothing reads.
		if sub.good[at] == 0 && rng.IntN(5) != 0 {
			continue
		}
		bit := rng.IntN(8)
		outcome := sub.spoil(t, []byte{sub.good[at] ^ 1<<bit}, at)
		tally(t, counts, outcome, fmt.Sprintf("byte %d, bit %d", at, bit))
	}
	t.Log(len(sub.good), "bytes:", counts)
	if counts["refused"] == 0 || counts["harmless"] == 0 {
		t.Error("want both outcomes: a flip is refused in a page in use and harmless in a free page")
	}
}

func TestOverwrittenPage(t *testing.T) {
	sub := newSubject(t)
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	const pageSize = 4096
	counts := make(map[string]int)
	for at := 0; at < len(sub.good); at += pageSize {
		page := make([]byte, pageSize)
		tally(t, counts, sub.spoil(t, page, at), fmt.Sprintf("zeros at %d", at))
		for i := range page {
			page[i] = byte(rng.Uint32())
		}
		tally(t, counts, sub.spoil(t, page, at), fmt.Sprintf("random bytes at %d", at))
		copy(page, sub.good[at:])
		half := append(page[:pageSize/2:pageSize/2], make([]byte, pageSize/2)...)
		tally(t, counts, sub.spoil(t, half, at), fmt.Sprintf("half a page at %d", at))
		for other := 0; other < len(sub.good); other += pageSize {
			if other != at {
				outcome := sub.spoil(t, sub.good[other:other+pageSize], at)
				tally(t, counts, outcome, fmt.Sprintf("page from %d at %d", other, at))
			}
		}
	}
	t.Log(counts)
}

func TestTruncated(t *testing.T) {
	sub := newSubject(t)
	counts := make(map[string]int)
	for size := 0; size < len(sub.good); size += 1024 {
		for _, size := range []int{size, size + 1} {
			if err := os.WriteFile(sub.path, sub.good[:size], 0o600); err != nil {
				t.Fatal(err)
			}
			tally(t, counts, sub.check(t), fmt.Sprintf("%d bytes", size))
		}
	}
	t.Log(counts)
	if counts["refused"] == 0 {
		t.Error("no truncation was refused")
	}
}

func TestDamagedFileIsLeftAlone(t *testing.T) {
	sub := newSubject(t)
	for name, data := range map[string][]byte{
		"empty":     {},
		"text":      []byte(strings.Repeat("not a database\n", 1000)),
		"truncated": sub.good[:4096*3],
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(sub.path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := store.Open(sub.path, at(1))
			if !errors.Is(err, store.ErrDamaged) {
				t.Fatalf("error %v", err)
			}
			for _, want := range []string{sub.path, "page ", "mv "} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not contain %q: %v", want, err)
				}
			}
			if after, _ := os.ReadFile(sub.path); string(after) != string(data) {
				t.Error("the file was changed")
			}
		})
	}
}

// If the file is truncated while the store is open, calls must return an error
// instead of dying of SIGBUS.
func TestTruncatedWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path, at(1))
	stage(t, s, "list", 5000)
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(func(policy.Entry) error { return nil }); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Load: %v", err)
	}
	if err := s.Apply(puts(block("192.0.2.0/24", "cli", policy.Forever)), at(1)); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Apply: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := store.Open(path, at(1)); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("Open: %v", err)
	}
}

// TestTruncatedUnderWriter is TestTruncatedWhileOpen with a write as the first call.
func TestTruncatedUnderWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path, at(1))
	stage(t, s, "list", 5000)
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := s.Apply(puts(block("192.0.2.0/24", "list", policy.Forever)), at(1))
		if !errors.Is(err, store.ErrDamaged) {
			t.Errorf("Apply: %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
