package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

// fakeKernel holds the nodes that are written to it, until it fails.
type fakeKernel struct {
	nodes map[string]policy.Verdict
	room  int  // number of puts until it fails; negative: never
	stuck bool // deletions fail
}

var errKernel = errors.New("kernel says no")

func nodeKey(n policy.Node) string { return n.Kind.String() + " " + n.Prefix.String() }

func (k *fakeKernel) Apply(_ context.Context, d policy.Delta) error {
	for _, n := range d.Put {
		if k.room == 0 {
			// All further writes succeed, so that the change can be undone.
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

func (k *fakeKernel) GrowHits(uint32) error { return nil }
func (k *fakeKernel) ClearHits(uint32)      {}

// noIndex is for tests of the contents of the tries.
type noIndex struct{}

func (noIndex) follow(*policy.Book, ...[]policy.Node) {}
func (noIndex) lapsed(*policy.Book, ...[]policy.Node) {}
func (noIndex) hold(*policy.Book)                     {}
func (noIndex) renew(*policy.Book)                    {}
func (noIndex) build(*policy.Book)                    {}
func (noIndex) close()                                {}

// bench is an engine with a real store and a kernel that can be made to fail.
type bench struct {
	*testing.T
	*Engine
	kernel *fakeKernel
	path   string
}

func newBench(t *testing.T, limit int) *bench {
	t.Helper()
	k := &fakeKernel{nodes: map[string]policy.Verdict{}, room: -1}
	path := filepath.Join(t.TempDir(), "state.db")
	return &bench{T: t, Engine: newEngine(t, k, path, limit), kernel: k, path: path}
}

// wideRoom is bounded by its nodes and limits alone, and reserves nothing.
func wideRoom(nodes int) policy.Room {
	return policy.Room{Nodes: nodes, Limits: nodes, Units: math.MaxInt, Share: math.MaxInt}
}

func newEngine(tb testing.TB, k Kernel, path string, limit int) *Engine {
	tb.Helper()
	clock, err := NewClock()
	if err != nil {
		tb.Fatal(err)
	}
	st, err := store.Open(path, clock.Reading())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { st.Close() })
	e := New(Options{
		Log: slog.New(slog.DiscardHandler), Clock: clock, Store: st, Kernel: k,
		Room: wideRoom(limit), DropCounts: uint32(limit) + 1, Observe: func(time.Duration) {}, Saved: func(error) {},
	})
	e.index = noIndex{}
	return e
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
		v.HitID = 0 // the number of the counter does not matter
		s.Kernel[name] = v
	}
	line := func(e policy.Entry) string {
		return fmt.Sprint(e.Kind, e.Action, e.Prefix, e.Origin, e.Reason, e.Deadline, e.Pending != nil)
	}
	for _, k := range []policy.Kind{policy.Block, policy.Allow} {
		for e := range b.book.Entries(k) {
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

// apply carries out operations that do not depend on the book.
func (b *bench) apply(ops ...policy.Op) error {
	return b.Edit(b.Context(), func(*policy.Book) ([]policy.Op, error) { return ops, nil })
}

// entry returns a drop entry of "cli" that never expires.
func entry(prefix string) policy.Entry {
	p, _, err := policy.ParsePrefix(prefix)
	if err != nil {
		panic(err)
	}
	return policy.Entry{
		Prefix: p, Kind: policy.Block, Action: policy.Drop,
		Origin: "cli", Author: "uid:7", Deadline: policy.Forever,
	}
}

func (b *bench) block(prefixes ...string) error {
	var ops []policy.Op
	for _, p := range prefixes {
		ops = append(ops, policy.PutOp(entry(p)))
	}
	return b.apply(ops...)
}

// unblock removes all blocks at the prefixes.
func (b *bench) unblock(prefixes ...string) error {
	return b.Edit(b.Context(), func(book *policy.Book) (ops []policy.Op, _ error) {
		for _, p := range prefixes {
			for e := range book.At(policy.Block, entry(p).Prefix) {
				ops = append(ops, policy.RemoveOp(e.Key()))
			}
		}
		return ops, nil
	})
}

func (b *bench) importLines(lines ...string) (Replaced, error) {
	list, err := ReadList(strings.NewReader(strings.Join(lines, "\n")), 2*b.room.Nodes, func(int) {})
	if err != nil {
		return Replaced{}, err
	}
	e := entry("0.0.0.0") // Replace sets the prefix
	e.Origin = "feed"
	return b.Replace(b.Context(), Set{List: list, Entry: e}, func(int, int) {})
}

// many returns n consecutive addresses.
func many(from netip.Addr, n int) []string {
	var list []string
	for a := from; len(list) < n; a = a.Next() {
		list = append(list, a.String())
	}
	return list
}

// A change that fails, at any place, is not applied in part.
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
		want   error
	}{
		{"block, the kernel fails at once", blockThree, kernelFailsAfter(0), errKernel},
		{"block, the kernel fails midway", blockThree, kernelFailsAfter(1), errKernel},
		{"small import, the kernel fails midway", importSmall, kernelFailsAfter(100), errKernel},
		{"large import, the kernel fails at once", importLarge, kernelFailsAfter(0), errKernel},
		{"large import, the kernel fails midway", importLarge, kernelFailsAfter(12_000), errKernel},
		{"block, no room", blockThree, func(b *bench) { b.room.Nodes = 3_003 }, ErrFull},
		{"small import, no room", importSmall, func(b *bench) { b.room.Nodes = 3_200 }, ErrFull},
		{"large import, no room", importLarge, func(b *bench) { b.room.Nodes = 15_000 }, ErrFull},
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
			if !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			if diff := cmp.Diff(before, b.state()); diff != "" {
				t.Errorf("the failed change left something (-before +after):\n%.2000s", diff)
			}
			b.room.Nodes = 200_000
			if err := tc.change(b); err != nil {
				t.Errorf("the same change, when nothing fails: %v", err)
			}
		})
	}
}

// If the store fails, nothing is acknowledged, and nothing is enforced.
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
		"block":   func() error { return b.block("203.0.113.6") },
		"unblock": func() error { return b.unblock("203.0.113.5") },
	} {
		err := change()
		if _, ok := errors.AsType[*SaveError](err); !ok {
			t.Errorf("%s: error %v, want a SaveError", name, err)
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

// copies are the nodes of the book, which the kernel should hold, and of the kernel.
type copies struct{ Book, Kernel map[string]policy.Verdict }

func (b *bench) bookAndKernel() copies {
	c := copies{Book: map[string]policy.Verdict{}, Kernel: maps.Clone(b.kernel.nodes)}
	for _, k := range []policy.Kind{policy.Block, policy.Allow} {
		for n := range b.book.Nodes(k) {
			c.Book[nodeKey(n)] = n.Verdict
		}
	}
	return c
}

// Entries are the same in the book, on disk and in the kernel after blocks and
// imports of all sizes.
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
		{"small", large[:10]}, {"large", large}, {"same", large}, {"half", large[:22_500]},
		{"other half", large[22_500:]}, {"small again", large[5:15]}, {"empty", nil},
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

// builtIndex counts its builds.
type builtIndex struct {
	noIndex
	builds int
}

func (x *builtIndex) renew(*policy.Book) { x.builds++ }

// When a list is saved, its entries have to be in the index, even if the kernel
// fails to delete old ones.
func TestSavedImportIsIndexed(t *testing.T) {
	b := newBench(t, 200_000)
	if _, err := b.importLines(many(netip.MustParseAddr("198.18.0.0"), 30_000)...); err != nil {
		t.Fatal(err)
	}
	x := new(builtIndex)
	b.index = x
	b.kernel.stuck = true
	if _, err := b.importLines(many(netip.MustParseAddr("198.19.0.0"), 30_000)...); !errors.Is(err, errKernel) {
		t.Fatalf("error %v, want %v", err, errKernel)
	}
	if x.builds != 1 {
		t.Errorf("the index was built %d times, want once", x.builds)
	}
}

// Undisturbed notices every change that overlaps with the call, and waits for none.
func TestUndisturbed(t *testing.T) {
	change := func(x turn) {
		x.Lock()
		defer x.Unlock()
	}
	for _, tc := range []struct {
		name   string
		before func(turn)
		during func(turn)
		want   bool
	}{
		{"no change", func(turn) {}, func(turn) {}, true},
		{"a change before", change, func(turn) {}, true},
		{"a change all the time", turn.Lock, func(turn) {}, false},
		{"a change that ends", turn.Lock, turn.Unlock, false},
		{"a change that begins", func(turn) {}, turn.Lock, false},
		{"a change in between", func(turn) {}, change, false},
	} {
		b := newBench(t, 10)
		tc.before(b.turn)
		if got := b.Undisturbed(func() { tc.during(b.turn) }); got != tc.want {
			t.Errorf("%s: undisturbed is %t, want %t", tc.name, got, tc.want)
		}
		if len(b.turn.held) > 0 {
			b.turn.Unlock()
		}
	}
}
