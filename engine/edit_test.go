package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

// together makes edits that all wait before the first is carried out, and returns
// their errors.
func (b *bench) together(plans ...func(*policy.Book) ([]policy.Op, error)) []error {
	b.Helper()
	b.turn.Lock()
	errs := make([]error, len(plans))
	var running sync.WaitGroup
	for i, plan := range plans {
		running.Go(func() { errs[i] = b.Edit(b.Context(), plan) })
		b.waiting(i + 1) // they come in order
	}
	b.turn.Unlock()
	running.Wait()
	return errs
}

// waiting waits until n edits are queued.
func (b *bench) waiting(n int) {
	for {
		b.queue.mu.Lock()
		queued := len(b.queue.waiting)
		b.queue.mu.Unlock()
		if queued == n {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func plan(ops ...policy.Op) func(*policy.Book) ([]policy.Op, error) {
	return func(*policy.Book) ([]policy.Op, error) { return ops, nil }
}

// countedKernel counts deltas with puts.
type countedKernel struct {
	*fakeKernel
	puts int
}

func (k *countedKernel) Apply(ctx context.Context, d policy.Delta) error {
	if len(d.Put) > 0 {
		k.puts++
	}
	return k.fakeKernel.Apply(ctx, d)
}

func (b *bench) counted() *countedKernel {
	k := &countedKernel{fakeKernel: b.kernel}
	b.Engine.kernel = k
	return k
}

// agree fails unless the book, the store and the kernel agree, and returns the
// prefixes of the entries.
func (b *bench) agree() []string {
	b.Helper()
	s := b.state()
	if diff := cmp.Diff(s.Book, s.Stored); diff != "" {
		b.Errorf("book and store differ (-book +store):\n%.1000s", diff)
	}
	c := b.bookAndKernel()
	if diff := cmp.Diff(c.Book, c.Kernel); diff != "" {
		b.Errorf("book and kernel differ (-book +kernel):\n%.1000s", diff)
	}
	var prefixes []string
	for e := range b.book.Entries(policy.Block) {
		prefixes = append(prefixes, e.Prefix.String())
	}
	return prefixes
}

// Edits that wait together are one transaction and one delta.
func TestEditsShareATransaction(t *testing.T) {
	b := newBench(t, 1000)
	k := b.counted()
	var plans []func(*policy.Book) ([]policy.Op, error)
	for i := range 20 {
		plans = append(plans, plan(policy.PutOp(entry(fmt.Sprintf("192.0.2.%d", i)))))
	}
	if err := errors.Join(b.together(plans...)...); err != nil {
		t.Fatal(err)
	}
	if k.puts != 1 {
		t.Errorf("the kernel got %d deltas, want 1", k.puts)
	}
	if got := b.agree(); len(got) != 20 {
		t.Errorf("%d entries, want 20", len(got))
	}
}

// Every edit of a group sees the changes of those before it, and fails or succeeds
// for itself.
func TestEditsOfAGroup(t *testing.T) {
	refused := errors.New("refused by the plan")
	seen := func(prefix string, want bool, then ...policy.Op) func(*policy.Book) ([]policy.Op, error) {
		return func(book *policy.Book) ([]policy.Op, error) {
			if _, ok := book.Get(entry(prefix).Key()); ok != want {
				return nil, fmt.Errorf("%s is in the book: %t, want %t", prefix, ok, want)
			}
			return then, nil
		}
	}
	unsavable := entry("192.0.2.66")
	unsavable.Origin = "not a name"
	b := newBench(t, 3)
	errs := b.together(
		plan(policy.PutOp(entry("192.0.2.1"))),
		seen("192.0.2.1", true, policy.PutOp(entry("192.0.2.2"))),
		func(*policy.Book) ([]policy.Op, error) { return nil, refused },
		func(*policy.Book) ([]policy.Op, error) { panic("a bug") },
		plan(policy.PutOp(entry("192.0.2.7")), policy.PutOp(entry("192.0.2.8"))), // no room for both
		seen("192.0.2.7", false, policy.RemoveOp(entry("192.0.2.1").Key())),
		plan(policy.PutOp(unsavable)), // the store refuses it
		seen("192.0.2.1", false, policy.PutOp(entry("192.0.2.3"))),
		plan(), // nothing to do
		plan(policy.PutOp(entry("192.0.2.4"))),
	)
	for i, want := range map[int]string{2: refused.Error(), 3: "a bug", 4: ErrFull.Error(), 6: "origin"} {
		if errs[i] == nil || !strings.Contains(errs[i].Error(), want) {
			t.Errorf("edit %d: error %v, want %q", i, errs[i], want)
		}
		errs[i] = nil
	}
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32"}, b.agree()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// The kernel fails for a group: each edit is tried alone, and the copies agree.
func TestGroupFailsInTheKernel(t *testing.T) {
	for room := range 4 {
		b := newBench(t, 1000)
		b.kernel.room = room
		errs := b.together(plan(policy.PutOp(entry("192.0.2.1"))), plan(policy.PutOp(entry("192.0.2.2"))), plan(policy.PutOp(entry("192.0.2.3"))))
		failed := 0
		for _, err := range errs {
			if errors.Is(err, errKernel) {
				failed++
			} else if err != nil {
				t.Errorf("room %d: %v", room, err)
			}
		}
		// The kernel fails once, and each edit works when it is tried alone.
		if got := b.agree(); len(got) != 3 || failed != 0 {
			t.Errorf("room %d: entries %v, %d failed", room, got, failed)
		}
	}
}

// The disk fails for a group: no edit is acknowledged, and nothing is enforced.
func TestGroupFailsOnDisk(t *testing.T) {
	b := newBench(t, 1000)
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	for i, err := range b.together(plan(policy.PutOp(entry("192.0.2.1"))), plan(policy.PutOp(entry("192.0.2.2")))) {
		if _, ok := errors.AsType[*SaveError](err); !ok {
			t.Errorf("edit %d: error %v, want a SaveError", i, err)
		}
	}
	if c := b.bookAndKernel(); len(c.Book) != 0 || len(c.Kernel) != 0 {
		t.Errorf("the book has %v, the kernel %v", c.Book, c.Kernel)
	}
}

// An edit whose caller gives up while it waits is not made, and those behind it
// are.
func TestEditGivenUp(t *testing.T) {
	b := newBench(t, 1000)
	b.turn.Lock()
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error), make(chan error)
	go func() { first <- b.Edit(ctx, plan(policy.PutOp(entry("192.0.2.1")))) }()
	b.waiting(1)
	go func() { second <- b.Edit(t.Context(), plan(policy.PutOp(entry("192.0.2.2")))) }()
	b.waiting(2)
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	b.turn.Unlock()
	if err := <-second; err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"192.0.2.2/32"}, b.agree()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// An edit that is acknowledged is on disk, whatever happens then.
func TestAcknowledgedEditsAreDurable(t *testing.T) {
	b := newBench(t, 10_000)
	const callers, each = 16, 40
	var running sync.WaitGroup
	for i := range callers {
		running.Go(func() {
			for j := range each {
				e := entry(fmt.Sprintf("198.18.%d.%d", i, j))
				if err := b.apply(policy.PutOp(e)); err != nil {
					t.Error(err)
					return
				}
				// A copy of the file is what a crash at this moment leaves.
				if j%20 == 0 && !inCopy(t, b, e.Prefix) {
					t.Errorf("%s is acknowledged and not on disk", e.Prefix)
				}
			}
		})
	}
	running.Wait()
	if got := b.agree(); len(got) != callers*each {
		t.Errorf("%d entries, want %d", len(got), callers*each)
	}
}

// inCopy reports whether the store has an entry at p.
func inCopy(t *testing.T, b *bench, p netip.Prefix) (found bool) {
	if _, err := b.store.Load(func(e policy.Entry) error {
		found = found || e.Prefix == p
		return nil
	}); err != nil {
		t.Error(err)
	}
	return found
}

// The size of a batch of expired entries follows the time that the last one took.
func TestExpireBatchAdapts(t *testing.T) {
	var b batch
	for range 20 {
		b.took(b.next(), 100*time.Microsecond)
	}
	if b.next() != mostExpired {
		t.Errorf("on a fast disk: %d, want %d", b.next(), mostExpired)
	}
	for range 20 {
		b.took(b.next(), time.Second)
	}
	if b.next() != leastExpired {
		t.Errorf("on a slow disk: %d, want %d", b.next(), leastExpired)
	}
	b.took(leastExpired-1, time.Nanosecond)
	if b.next() != leastExpired {
		t.Errorf("after a partial batch: %d, want %d", b.next(), leastExpired)
	}
}

// While a great many entries expire, an edit waits for one batch at most.
func TestEditDuringMassExpiry(t *testing.T) {
	b := newBench(t, 100_000)
	var ops []policy.Op
	for a := netip.MustParseAddr("198.18.0.0"); len(ops) < 40_000; a = a.Next() {
		e := entry(a.String())
		e.Deadline = 1 // long past
		ops = append(ops, policy.PutOp(e))
	}
	if err := b.apply(ops...); err != nil {
		t.Fatal(err)
	}
	batches, waited := 0, 0
	done := make(chan error, 1)
	for pending := false; ; batches++ {
		if batches%5 == 1 {
			pending = true
			prefix := fmt.Sprintf("203.0.%d.%d", batches>>8, batches&255)
			go func() { done <- b.block(prefix) }()
			b.waitingOrDone(done)
		}
		expired, err := b.Expire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if pending {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			pending = false
			waited++
		}
		if len(expired) == 0 {
			break
		}
	}
	if waited < 2 || batches < 5 {
		t.Errorf("%d edits during %d batches: nothing was tried", waited, batches)
	}
	b.agree()
}

// waitingOrDone waits until an edit is queued, or has ended: put its result back.
func (b *bench) waitingOrDone(done chan error) {
	for {
		b.queue.mu.Lock()
		queued := len(b.queue.waiting)
		b.queue.mu.Unlock()
		select {
		case err := <-done:
			done <- err
			return
		default:
		}
		if queued > 0 {
			return
		}
		time.Sleep(100 * time.Microsecond)
	}
}

var _ staging = (*store.Replacement)(nil)
