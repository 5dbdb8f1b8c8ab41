package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

// fakeKernel holds what it is told, until it fails.
type fakeKernel struct {
	nodes map[string]policy.Verdict
	room  int  // puts until it fails; negative: never
	stuck bool // deletions fail
}

var errKernel = errors.New("kernel says no")

func nodeKey(n policy.Node) string { return n.Kind.String() + " " + n.Prefix.String() }

func (k *fakeKernel) Apply(_ context.Context, d policy.Delta) error {
	for _, n := range d.Put {
		if k.room == 0 {
			// Whatever comes next works: it is the way back.
			k.room = -1
			return errKernel
		}
		k.room--
		k.nodes[nodeKey(n)] = n.Verdict
	}
	for _, n := range d.Delete {
		if k.stuck {
			return errKernel
		}
		delete(k.nodes, nodeKey(n))
	}
	return nil
}

func (k *fakeKernel) GrowHits(uint32) error    { return nil }
func (k *fakeKernel) ClearHits(uint32)         {}
func (k *fakeKernel) Hits(uint32) uint64       { return 0 }
func (k *fakeKernel) Sampled() (uint64, error) { return 0, nil }

// noIndex is for tests of what the tries hold.
type noIndex struct{}

func (noIndex) follow(*policy.Book, ...[]policy.Node) {}
func (noIndex) lapsed(*policy.Book, ...[]policy.Node) {}
func (noIndex) prepare(*policy.Book)                  {}
func (noIndex) build(*policy.Book)                    {}

// bench is a daemon on a real store and a kernel that can be made to fail.
type bench struct {
	*testing.T
	*Daemon
	kernel *fakeKernel
	path   string
}

func newBench(t *testing.T, limit int) *bench {
	t.Helper()
	b := &bench{T: t, kernel: &fakeKernel{nodes: map[string]policy.Verdict{}, room: -1}, path: filepath.Join(t.TempDir(), StoreFile)}
	b.Daemon = newDaemonOver(t, b.kernel, b.path, limit)
	return b
}

func newDaemonOver(tb testing.TB, k kernel, path string, limit int) *Daemon {
	tb.Helper()
	clock, err := newClock()
	if err != nil {
		tb.Fatal(err)
	}
	st, err := store.Open(path, clock.reading())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { st.Close() })
	log := slog.New(slog.DiscardHandler)
	d := &Daemon{detection: &detection{}, log: log, store: st, broadcast: newBroadcast(), detached: make(chan struct{}), nics: &nics{log: log}, engine: &engine{
		log: log, clock: clock, store: st, kernel: k, index: noIndex{}, limit: limit,
		applied: func(time.Duration) {}, book: policy.NewBook(uint32(limit) + 1),
	}}
	d.cfg.Store(&config.Config{})
	return d
}

// state is everything that must not change when a change fails.
type state struct {
	Book, Stored []string
	Kernel       map[string]policy.Verdict
}

func (b *bench) state() state {
	b.Helper()
	s := state{Kernel: maps.Clone(b.kernel.nodes)}
	for name, v := range s.Kernel {
		v.HitID = 0 // which counter it is does not matter
		s.Kernel[name] = v
	}
	line := func(e policy.Entry) string {
		return fmt.Sprint(e.Kind, e.Action, e.Prefix, e.Origin, e.Reason, e.Deadline, e.Pending != nil)
	}
	for _, k := range []policy.Kind{policy.Block, policy.Allow} {
		for e := range b.engine.book.Entries(k) {
			s.Book = append(s.Book, line(e))
		}
	}
	if _, err := b.store.Load(func(e policy.Entry) error {
		s.Stored = append(s.Stored, line(e))
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	slices.Sort(s.Book)
	slices.Sort(s.Stored)
	return s
}

func (b *bench) block(prefixes ...string) error {
	_, err := b.Block(b.Context(), control.Caller{UID: 7}, control.BlockRequest{Prefixes: prefixes, Action: "drop", Origin: "cli"})
	return err
}

func (b *bench) importLines(lines ...string) (control.ImportResult, error) {
	return b.Import(b.Context(), control.Caller{}, control.ImportRequest{Origin: "feed"}, strings.NewReader(strings.Join(lines, "\n")), func(control.ImportProgress) {})
}

// many returns n addresses, in order.
func many(from netip.Addr, n int) []string {
	var list []string
	for a := from; len(list) < n; a = a.Next() {
		list = append(list, a.String())
	}
	return list
}

// Whatever fails, and wherever: nothing is half applied.
func TestFailureChangesNothing(t *testing.T) {
	first := many(netip.MustParseAddr("198.18.0.0"), 3_000)
	second := many(netip.MustParseAddr("198.19.0.0"), 25_000)
	blockThree := func(b *bench) error { return b.block("203.0.113.0/24", "203.0.113.5", "203.0.113.9") }
	importSmall := func(b *bench) error { _, err := b.importLines(second[:500]...); return err }
	importLarge := func(b *bench) error { _, err := b.importLines(second...); return err }
	kernelFailsAfter := func(puts int) func(*bench) {
		return func(b *bench) { b.kernel.room = puts }
	}
	for _, tc := range []struct {
		name   string
		change func(*bench) error
		breaks func(*bench)
		code   string
	}{
		{"block, the kernel fails at once", blockThree, kernelFailsAfter(0), ""},
		{"block, the kernel fails midway", blockThree, kernelFailsAfter(1), ""},
		{"small import, the kernel fails midway", importSmall, kernelFailsAfter(100), ""},
		{"large import, the kernel fails at once", importLarge, kernelFailsAfter(0), ""},
		{"large import, the kernel fails midway", importLarge, kernelFailsAfter(12_000), ""},
		{"block, no room", blockThree, func(b *bench) { b.engine.limit = 3_003 }, control.CodeTooLarge},
		{"small import, no room", importSmall, func(b *bench) { b.engine.limit = 3_200 }, control.CodeTooLarge},
		{"large import, no room", importLarge, func(b *bench) { b.engine.limit = 15_000 }, control.CodeTooLarge},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, 200_000)
			if err := b.block("203.0.113.5", "192.88.99.1"); err != nil {
				t.Fatal(err)
			}
			if _, err := b.importLines(first...); err != nil {
				t.Fatal(err)
			}
			before := b.state()
			tc.breaks(b)
			err := tc.change(b)
			if err == nil {
				t.Fatal("the change succeeded")
			}
			if e, ok := errors.AsType[*control.Error](err); tc.code != "" && (!ok || e.Code != tc.code) {
				t.Errorf("error %v, want code %s", err, tc.code)
			}
			if diff := cmp.Diff(before, b.state()); diff != "" {
				t.Errorf("the failed change left something (-before +after):\n%.2000s", diff)
			}
			b.engine.limit = 200_000
			if err := tc.change(b); err != nil {
				t.Errorf("the same change, with nothing in its way: %v", err)
			}
		})
	}
}

// Without a disk nothing is acknowledged, and nothing enforced.
func TestStoreFailureChangesNothing(t *testing.T) {
	b := newBench(t, 1000)
	if err := b.block("203.0.113.5", "203.0.113.7"); err != nil {
		t.Fatal(err)
	}
	before := b.bookAndKernel()
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func() error{
		"block": func() error { return b.block("203.0.113.6") },
		"unblock": func() error {
			_, err := b.Unblock(t.Context(), control.Caller{}, control.UnblockRequest{Prefixes: []string{"203.0.113.5"}, Origin: "cli"})
			return err
		},
	} {
		err := change()
		if e, ok := errors.AsType[*control.Error](err); !ok || e.Code != control.CodeStoreFailed {
			t.Errorf("%s: error %v, want code %s", name, err, control.CodeStoreFailed)
		}
		after := b.bookAndKernel()
		if diff := cmp.Diff(after.Book, after.Kernel); diff != "" {
			t.Errorf("%s: book and kernel differ, drop counters included (-book +kernel):\n%s", name, diff)
		}
		if len(after.Kernel) != len(before.Kernel) {
			t.Errorf("%s: %d nodes in the kernel, want %d", name, len(after.Kernel), len(before.Kernel))
		}
	}
}

// copies is what the kernel is to hold and what it holds.
type copies struct{ Book, Kernel map[string]policy.Verdict }

func (b *bench) bookAndKernel() copies {
	c := copies{Book: map[string]policy.Verdict{}, Kernel: maps.Clone(b.kernel.nodes)}
	for _, k := range []policy.Kind{policy.Block, policy.Allow} {
		for n := range b.engine.book.Nodes(k) {
			c.Book[nodeKey(n)] = n.Verdict
		}
	}
	return c
}

// What is put, in whatever way, is the same in the book, on disk and in the
// kernel.
func TestCopiesAgree(t *testing.T) {
	b := newBench(t, 200_000)
	check := func(step string) {
		t.Helper()
		s := b.state()
		if diff := cmp.Diff(s.Book, s.Stored); diff != "" {
			t.Errorf("%s: book and store differ (-book +store):\n%.1000s", step, diff)
		}
		c := b.bookAndKernel()
		if diff := cmp.Diff(c.Book, c.Kernel); diff != "" {
			t.Errorf("%s: book and kernel differ (-book +kernel):\n%.1000s", step, diff)
		}
	}
	large := many(netip.MustParseAddr("198.18.0.0"), 45_000)
	for _, step := range []struct {
		name  string
		lines []string
	}{
		{"small", large[:10]}, {"large", large}, {"same", large}, {"half", large[:22_500]}, {"other half", large[22_500:]}, {"small again", large[5:15]}, {"empty", nil},
	} {
		if _, err := b.importLines(step.lines...); err != nil {
			t.Fatal(err)
		}
		if err := b.block("198.18.0.7", "198.18.0.0/16"); err != nil {
			t.Fatal(err)
		}
		check(step.name)
	}
}

// builtIndex counts how often it is built.
type builtIndex struct {
	noIndex
	builds int
}

func (x *builtIndex) build(*policy.Book) { x.builds++ }

// Once a list is saved its entries have to be in the index, also if the kernel
// does not let go of old ones.
func TestSavedImportIsIndexed(t *testing.T) {
	b := newBench(t, 200_000)
	if _, err := b.importLines(many(netip.MustParseAddr("198.18.0.0"), 30_000)...); err != nil {
		t.Fatal(err)
	}
	x := new(builtIndex)
	b.engine.index = x
	b.kernel.stuck = true
	if _, err := b.importLines(many(netip.MustParseAddr("198.19.0.0"), 30_000)...); !errors.Is(err, errKernel) {
		t.Fatalf("error %v, want %v", err, errKernel)
	}
	if x.builds != 1 {
		t.Errorf("the index was built %d times, want once", x.builds)
	}
}
