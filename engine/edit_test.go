package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

// patience is the time after which a test fails that waits for something. It is
// longer than anything here takes on a busy machine.
const patience = time.Minute

// edit starts an edit, and returns the channel that its error is sent to.
func (b *bench) edit(ctx context.Context, plan func(*policy.Book) ([]policy.Op, error)) <-chan error {
	return started(func() error { return b.Edit(ctx, plan) })
}

// started runs f in the background, and returns the channel that its error is sent
// to.
func started(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// result waits for the error of an edit.
func (b *bench) result(done <-chan error) error {
	b.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		b.Fatal("an edit does not end")
		return nil
	}
}

// together makes edits that all wait before the first is carried out, and returns
// their errors.
func (b *bench) together(plans ...func(*policy.Book) ([]policy.Op, error)) []error {
	b.Helper()
	b.turn.Lock()
	var running []<-chan error
	for i, plan := range plans {
		running = append(running, b.edit(b.Context(), plan))
		b.waiting(i + 1) // the queue has them in this order
	}
	b.turn.Unlock()
	var errs []error
	for _, done := range running {
		errs = append(errs, b.result(done))
	}
	return errs
}

// waiting waits until n edits are queued.
func (b *bench) waiting(n int) {
	b.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Microsecond) {
		b.queue.mu.Lock()
		queued := b.queue.length
		b.queue.mu.Unlock()
		if queued == n {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("%d edits wait, want %d", queued, n)
		}
	}
}

func plan(ops ...policy.Op) func(*policy.Book) ([]policy.Op, error) {
	return func(*policy.Book) ([]policy.Op, error) { return ops, nil }
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

// EditUnsaved enforces a change without saving it, or changes nothing.
func TestEditUnsaved(t *testing.T) {
	for _, tc := range []struct {
		name   string
		breaks func(*bench)
		want   error
	}{
		{"enforced", func(*bench) {}, nil},
		{"no room", func(b *bench) { b.room.Nodes = 2 }, ErrFull},
		{"the kernel fails at once", func(b *bench) { b.kernel.room = 0 }, errKernel},
		{"the kernel fails midway", func(b *bench) { b.kernel.room = 1 }, errKernel},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, 1000)
			if err := b.block("192.0.2.1"); err != nil {
				t.Fatal(err)
			}
			before := b.state()
			tc.breaks(b)
			ops := []policy.Op{policy.PutOp(entry("192.0.2.2")), policy.PutOp(entry("192.0.2.3"))}
			if err := b.EditUnsaved(t.Context(), ops); !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if c := b.bookAndKernel(); !cmp.Equal(c.Book, c.Kernel) {
				t.Errorf("book and kernel differ (-book +kernel):\n%s", cmp.Diff(c.Book, c.Kernel))
			}
			after := b.state()
			if diff := cmp.Diff(before.Stored, after.Stored); diff != "" {
				t.Errorf("the store changed (-before +after):\n%s", diff)
			}
			if added := len(after.Kernel) - len(before.Kernel); (added == len(ops)) != (tc.want == nil) {
				t.Errorf("%d nodes were added", added)
			}
			if tc.want != nil && !cmp.Equal(before, after) {
				t.Errorf("the failed change left something (-before +after):\n%s", cmp.Diff(before, after))
			}
		})
	}
}

// An edit whose caller gives up while it waits is not carried out. The edits
// behind it are.
func TestEditGivenUp(t *testing.T) {
	b := newBench(t, 1000)
	b.turn.Lock()
	ctx, cancel := context.WithCancel(t.Context())
	first := b.edit(ctx, plan(policy.PutOp(entry("192.0.2.1"))))
	b.waiting(1)
	second := b.edit(t.Context(), plan(policy.PutOp(entry("192.0.2.2"))))
	b.waiting(2)
	cancel()
	if err := b.result(first); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	b.turn.Unlock()
	if err := b.result(second); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"192.0.2.2/32"}, b.agree()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// An edit that is acknowledged is committed to the store.
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
				if j%10 == 0 && !stored(t, b, e.Prefix) {
					t.Errorf("%s is acknowledged and not in the store", e.Prefix)
				}
			}
		})
	}
	running.Wait()
	if got := b.agree(); len(got) != callers*each {
		t.Errorf("%d entries, want %d", len(got), callers*each)
	}
}

// stored reports whether the store has an entry at p.
func stored(t *testing.T, b *bench, p netip.Prefix) (found bool) {
	if _, err := b.store.Load(func(e policy.Entry) error {
		found = found || e.Prefix == p
		return nil
	}); err != nil {
		t.Error(err)
	}
	return found
}

var _ staging = (*store.Replacement)(nil)

// A change in many steps that removes entries and puts them again keeps their drop counters, as
// the end of an import that failed does.
func TestStepsKeepDropCounters(t *testing.T) {
	b := newBench(t, 10*writeStep)
	var put, again []policy.Op
	for i := range 2 * writeStep {
		op := b.op(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}).String(), forever, policy.Drop, 0)
		put, again = append(put, op), append(again, policy.RemoveOp(op.Put.Key()))
	}
	if err := b.apply(put...); err != nil {
		t.Fatal(err)
	}
	counters := func() (ids []uint32) {
		for _, op := range put {
			ids = append(ids, b.book.HitID(op.Put.Prefix))
		}
		return ids
	}
	before := counters()
	b.change(append(again, put...))
	if !slices.Equal(counters(), before) {
		t.Error("some drop counters were replaced")
	}
}
