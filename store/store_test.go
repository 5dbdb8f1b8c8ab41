package store_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "state.db")
	s := open(t, path, at(1))
	v6 := block("2001:db8::/32", "cli", policy.Forever)
	shadow := block("192.0.2.0/24", "detector:syn-flood", 5*hour)
	shadow.Action = policy.Shadow
	shadow.Evidence, shadow.Replies = evidence(), true
	allow := block("192.0.2.7/32", "cli", policy.Forever)
	allow.Kind, allow.Action, allow.Forced = policy.Allow, policy.NoAction, true
	bare := policy.Entry{
		Prefix: netip.MustParsePrefix("0.0.0.0/0"), Kind: policy.Block, Action: policy.Drop,
		Origin: "cli", Created: time.Time{}, Deadline: 2*hour + 1,
	}
	pending := block("192.0.2.0/24", "cli", 2*hour)
	pending.Pending = &policy.Pending{ID: "1f", Deadline: policy.Forever}
	other := pending
	other.Pending = &policy.Pending{ID: "2f", Deadline: 7 * hour}
	confirmed := block("192.0.2.0/24", "cli", 3*hour)
	widened := block("2001:db8:1::/48", "detector:syn-flood", 5*hour)
	widened.Evidence = ruleEvidence()
	entries := []policy.Entry{v6, shadow, widened, allow, bare, pending, other, confirmed}
	apply(t, s, at(1), puts(entries...)...)
	wantEntries(t, s, entries...)

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path, at(1))
	wantEntries(t, s, entries...)
	for file, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700 | os.ModeDir} {
		if info, err := os.Stat(file); err != nil || info.Mode() != mode {
			t.Errorf("%s: mode %v, %v; want %v", file, info.Mode(), err, mode)
		}
	}

	shadow.Reason, shadow.Evidence = "changed in place", nil
	apply(t, s, at(1), policy.PutOp(shadow), policy.RemoveOp(pending.Key()), policy.RemoveOp(v6.Key()),
		policy.RemoveOp(policy.Key{Kind: policy.Block, Prefix: v6.Prefix, Origin: "nobody"}))
	wantEntries(t, s, shadow, widened, allow, bare, other, confirmed)
}

func TestApplyRefusesWhole(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"), at(1))
	good := block("192.0.2.0/24", "cli", policy.Forever)
	bad := map[string]func(*policy.Entry){
		"origin":    func(e *policy.Entry) { e.Origin = "a\x00b" },
		"kind":      func(e *policy.Entry) { e.Kind = 7 },
		"host bits": func(e *policy.Entry) { e.Prefix = netip.MustParsePrefix("192.0.2.1/24") },
		"mapped":    func(e *policy.Entry) { e.Prefix = netip.MustParsePrefix("::ffff:192.0.2.0/120") },
		"reason":    func(e *policy.Entry) { e.Reason = strings.Repeat("x", 5000) },
		"pending":   func(e *policy.Entry) { e.Pending = &policy.Pending{} },
		"detector":  func(e *policy.Entry) { e.Evidence = &policy.Evidence{Detector: strings.Repeat("x", 5000)} },
		"ports":     func(e *policy.Entry) { e.Evidence = &policy.Evidence{Ports: make([]uint16, 1000)} },
		"events": func(e *policy.Entry) {
			e.Evidence = &policy.Evidence{Rule: &policy.RuleEvidence{Seen: make([]policy.Seen, 65)}}
		},
		"text": func(e *policy.Entry) {
			seen := []policy.Seen{{Text: strings.Repeat("x", 5000)}}
			e.Evidence = &policy.Evidence{Rule: &policy.RuleEvidence{Seen: seen}}
		},
		"two": func(e *policy.Entry) {
			e.Evidence = &policy.Evidence{Detector: "a", Rule: &policy.RuleEvidence{}}
		},
		"offence": func(e *policy.Entry) { e.Evidence = &policy.Evidence{Offence: -1} },
	}
	for name, spoil := range bad {
		t.Run(name, func(t *testing.T) {
			e := good
			spoil(&e)
			if err := s.Apply(puts(good, e), at(1)); err == nil {
				t.Error("Apply accepted the entry")
			}
			wantEntries(t, s)
		})
	}
	if err := s.Apply([]policy.Op{{}}, at(1)); err == nil {
		t.Error("Apply accepted the zero change")
	}
}

func TestExpired(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path, at(1))
	short, long := numbered("feed:a", 30_000, 2*hour), block("192.0.2.0/24", "feed:a", 9*hour)
	lapsed := block("192.0.2.0/24", "cli", 2*hour)
	lapsed.Pending = &policy.Pending{ID: "x", Deadline: policy.Forever}
	apply(t, s, at(1), puts(append(short, long, lapsed)...)...)

	if _, stats := loadAll(t, s); stats.Live != 30_002 {
		t.Errorf("at 1 h: %+v", stats)
	}
	if err := s.Checkpoint(at(3)); err != nil {
		t.Fatal(err)
	}
	got, stats := loadAll(t, s)
	if d := diffEntries([]policy.Entry{long}, got); d != "" || stats.Expired != 30_001 {
		t.Errorf("at 3 h: %+v (-want +got):\n%s", stats, d)
	}
	if _, stats = loadAll(t, s); stats != (store.LoadStats{Live: 1}) {
		t.Errorf("after they were deleted: %+v", stats)
	}
	s.Close()
	wantEntries(t, open(t, path, at(3)), long)
}

func TestLoadStopsAtYieldError(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"), at(1))
	apply(t, s, at(1), puts(numbered("cli", 10, policy.Forever)...)...)
	stop, calls := errors.New("stop"), 0
	_, err := s.Load(func(policy.Entry) error { calls++; return stop })
	if !errors.Is(err, stop) || errors.Is(err, store.ErrDamaged) || calls != 1 {
		t.Errorf("error %v after %d calls", err, calls)
	}

	defer func() {
		if r := recover(); r != "mine" {
			t.Errorf("a panic of yield became %v", r)
		}
	}()
	s.Load(func(policy.Entry) error { panic("mine") })
}

func TestSecondOpener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path, at(1))
	apply(t, s, at(1), puts(block("192.0.2.0/24", "cli", policy.Forever))...)
	_, err := store.Open(path, at(1))
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), "another paraxiald") {
		t.Errorf("second Open: %v", err)
	}
	s.Close()
	open(t, path, at(1))
}

func TestCreatedByManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.db")
	if err := os.WriteFile(path+".new-1234", []byte("half made"), 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var opened []*store.Store
	for range 8 {
		wg.Go(func() {
			s, err := store.Open(path, at(1))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				opened = append(opened, s)
			} else if !errors.Is(err, store.ErrLocked) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(opened) != 1 {
		t.Fatalf("%d stores are open, want 1", len(opened))
	}
	opened[0].Close()
	open(t, path, at(1)).Close()
	names, _ := filepath.Glob(path + "*")
	if d := gocmp.Diff([]string{path}, names); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
}

func TestSlots(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path, at(1))
	for name, slot := range map[string]uint32{"eth0": 1, "eth0.100": 2, "gone": 3} {
		if err := s.PutSlot(name, slot); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.PutSlot("eth0", 5), s.DeleteSlot("gone"), s.DeleteSlot("never"), s.Close()); err != nil {
		t.Fatal(err)
	}
	got, err := open(t, path, at(1)).Slots()
	if d := gocmp.Diff(map[string]uint32{"eth0": 5, "eth0.100": 2}, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if err := s.PutSlot("", 1); err == nil {
		t.Error("a closed store accepted a slot")
	}
}

// With all kinds of writers at once, every acknowledged change must be in the store.
func TestConcurrentWriters(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"), at(1))
	var wg sync.WaitGroup
	for w := range 4 {
		origin := fmt.Sprintf("writer%d", w)
		wg.Go(func() {
			for _, e := range numbered(origin, 40, policy.Forever) {
				if err := s.Apply(puts(e), at(1)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 5 {
				r, err := s.Begin("list" + origin)
				err = errors.Join(err, r.Add(numbered("list"+origin, 500, policy.Forever)), r.Commit(at(2)))
				if err != nil {
					t.Error(err)
				}
				if _, err := s.Load(func(policy.Entry) error { return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, stats := loadAll(t, s); stats.Live != 4*40+4*500 {
		t.Errorf("%+v", stats)
	}
}
