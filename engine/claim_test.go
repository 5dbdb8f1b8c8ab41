package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
)

// turns sends calls to take a turn, and notes who gets it.
type turns struct {
	*testing.T
	*replacements
	got chan string
}

// take returns when the call waits or has its turn.
func (r *turns) take(ctx context.Context, origin, caller string) <-chan error {
	r.Helper()
	before := r.waits()
	done := started(func() error {
		if err := r.replacements.take(For(ctx, caller), origin); err != nil {
			return err
		}
		r.got <- caller
		return nil
	})
	eventually(r.T, "the call waits or has its turn", func() bool { return r.waits() > before || len(r.got) > 0 })
	return done
}

func (r *turns) waits() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting)
}

// Root's replacement overtakes those of others that wait for the same set. One that gives
// up takes no turn.
func TestRootReplacesFirst(t *testing.T) {
	r := &turns{T: t, replacements: newReplacements(), got: make(chan string, 10)}
	ctx, leave := context.WithCancel(t.Context())
	r.take(t.Context(), "feed", "uid:1")
	var order []string
	order = append(order, <-r.got)
	r.take(t.Context(), "feed", "uid:2")
	left := r.take(ctx, "feed", "uid:3")
	r.take(t.Context(), "feed", "uid:4")
	r.take(t.Context(), "feed", "uid:0")
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("a call that gives up: %v", err)
	}
	for range 3 {
		r.give("feed")
		order = append(order, <-r.got)
	}
	if diff := cmp.Diff([]string{"uid:1", "uid:0", "uid:2", "uid:4"}, order); diff != "" {
		t.Errorf("turns (-want +got):\n%s", diff)
	}
	if r.give("feed"); len(r.taken) != 0 || len(r.waiting) != 0 {
		t.Errorf("taken at the end: %v, and %d wait", r.taken, len(r.waiting))
	}
}

// A small import does not wait for another origin's, also if that is large. Two large
// imports are made one after the other, and each has room for what it adds.
func TestImportsSideBySide(t *testing.T) {
	b := newBench(t, 100_000)
	release, err := b.claim(t.Context(), set{policy.Block, "other"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.replacing.take(t.Context(), largeImport); err != nil {
		t.Fatal(err)
	}
	if err := b.result(started(func() error { return second(b.importLines("192.0.2.1")) })); err != nil {
		t.Errorf("a small import beside a large one: %v", err)
	}
	large := started(func() error {
		return second(b.importLines(many(entry("198.18.0.0").Prefix.Addr(), smallImport+1)...))
	})
	eventually(t, "a large import waits", func() bool {
		b.replacing.mu.Lock()
		defer b.replacing.mu.Unlock()
		return slices.ContainsFunc(b.replacing.waiting, func(w *replacement) bool { return w.origin == largeImport })
	})
	b.replacing.give(largeImport)
	if err := b.result(large); err != nil {
		t.Errorf("a large import after another: %v", err)
	}
	release()
	if len(b.claimed) != 0 {
		t.Errorf("claims at the end: %v", b.claimed)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// growingKernel notes whether others waited for the turn while it added memory for drop counters.
type growingKernel struct {
	*fakeKernel
	turn          turn
	ids           uint32
	adds, delayed int
}

func (k *growingKernel) GrowHits(ids uint32) error {
	if ids <= k.ids {
		return nil
	}
	k.ids = ids
	if k.adds++; len(k.turn.held) > 0 {
		k.delayed++
	}
	return nil
}

// The memory for the drop counters of a large import is added at once, and no change waits for it.
func TestDropCountersOfImport(t *testing.T) {
	b := newBench(t, 3*smallImport)
	k := &growingKernel{fakeKernel: b.kernel, turn: b.turn}
	b.Engine.kernel = k
	var lines []string
	for i := range smallImport + 1 {
		lines = append(lines, fmt.Sprintf("11.%d.%d.%d", i>>16, i>>8&255, i&255))
	}
	if _, err := b.importLines(lines...); err != nil {
		t.Fatal(err)
	}
	if k.adds != 1 || k.delayed != 0 {
		t.Errorf("memory was added %d times, and %d times while others waited; want once, and never", k.adds, k.delayed)
	}
	if want := uint32(smallImport + 2); k.ids != want {
		t.Errorf("memory for %d drop counters, want %d", k.ids, want)
	}
}
