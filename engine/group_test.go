package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
)

// countedKernel counts the deltas that have puts.
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

// Edits that wait together are one delta of the kernel.
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

// Every edit of a group sees the changes of the edits before it, and fails or
// succeeds on its own.
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
	for i, want := range map[int]string{2: refused.Error(), 3: "a bug", 4: "no room left for blocks of ipv4",
		6: "origin"} {
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
		err := errors.Join(b.together(
			plan(policy.PutOp(entry("192.0.2.1"))),
			plan(policy.PutOp(entry("192.0.2.2"))),
			plan(policy.PutOp(entry("192.0.2.3"))),
		)...)
		// The kernel fails once, so each edit succeeds when it is tried alone.
		if got := b.agree(); len(got) != 3 || err != nil {
			t.Errorf("room %d: entries %v, error %v", room, got, err)
		}
	}
}

// The disk fails for a group: no edit is acknowledged, and all are undone, the last
// one first.
func TestGroupFailsOnDisk(t *testing.T) {
	b := newBench(t, 1000)
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	errs := b.together(
		plan(b.op("192.0.2.1", time.Hour, policy.Drop, 0)),
		plan(b.op("192.0.2.1", forever, policy.Drop, 0)), // replaces the first
		plan(policy.PutOp(entry("192.0.2.2"))),
	)
	for i, err := range errs {
		if _, ok := errors.AsType[*SaveError](err); !ok {
			t.Errorf("edit %d: error %v, want a SaveError", i, err)
		}
	}
	if c := b.bookAndKernel(); len(c.Book) != 0 || len(c.Kernel) != 0 {
		t.Errorf("the book has %v, the kernel %v", c.Book, c.Kernel)
	}
}

// A group restricts only if all its edits do: otherwise it is saved first. In
// both orders no edit is acknowledged before the group is saved and enforced.
func TestOrderOfAGroup(t *testing.T) {
	block := plan(policy.PutOp(entry("192.0.2.1")))
	allows := plan(policy.PutOp(allow("192.0.2.2")))
	for _, tc := range []struct {
		name        string
		first, then func(*policy.Book) ([]policy.Op, error)
		kernelFirst bool
	}{
		{"two blocks", block, plan(policy.PutOp(entry("192.0.2.3"))), true},
		{"block and allow", block, allows, false},
		{"allow and block", allows, block, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, 1000)
			var acknowledged atomic.Int32
			b.Engine.kernel = tracedKernel{b.kernel, func() {
				if kernelFirst := len(b.state().Stored) == 0; kernelFirst != tc.kernelFirst {
					t.Errorf("the kernel came first: %t, want %t", kernelFirst, tc.kernelFirst)
				}
				time.Sleep(20 * time.Millisecond) // an early acknowledgement needs time to be seen
				if n := acknowledged.Load(); n != 0 {
					t.Errorf("%d edits are acknowledged, and not enforced", n)
				}
			}}
			counted := func(p func(*policy.Book) ([]policy.Op, error)) func() error {
				return func() error { defer acknowledged.Add(1); return b.Edit(t.Context(), p) }
			}
			b.turn.Lock()
			first := started(counted(tc.first))
			b.waiting(1)
			then := started(counted(tc.then))
			b.waiting(2)
			b.turn.Unlock()
			if err := errors.Join(b.result(first), b.result(then)); err != nil {
				t.Error(err)
			}
		})
	}
}

// An edit after a group waits for others, and is carried out if none come.
func TestEditAfterAGroup(t *testing.T) {
	b := newBench(t, 1000)
	together := b.together(plan(policy.PutOp(entry("192.0.2.1"))), plan(policy.PutOp(entry("192.0.2.2"))))
	if err := errors.Join(together...); err != nil {
		t.Fatal(err)
	}
	var waited time.Duration
	start := time.Now()
	err := b.result(b.edit(t.Context(), func(*policy.Book) ([]policy.Op, error) {
		waited = time.Since(start)
		return []policy.Op{policy.PutOp(entry("192.0.2.3"))}, nil
	}))
	if err != nil || waited < gatherMost {
		t.Errorf("error %v; the edit was carried out after %s, want %s or more", err, waited, gatherMost)
	}
}

// A group that waits for others begins when as many as before are there.
func TestQueueGathers(t *testing.T) {
	b := newBench(t, 1000)
	gathering := func() bool {
		b.queue.mu.Lock()
		defer b.queue.mu.Unlock()
		return b.queue.full != nil
	}
	gathered := started(func() error { b.queue.gather(2, 10*patience); return nil })
	for deadline := time.Now().Add(patience); !gathering(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing waits for edits")
		}
	}
	b.queue.add(new(edit))
	if !gathering() {
		t.Error("one edit was enough, want two")
	}
	b.queue.add(new(edit))
	if err := b.result(gathered); err != nil || gathering() {
		t.Errorf("two edits were not enough, error %v", err)
	}
	// Enough edits are there already.
	b.result(started(func() error { b.queue.gather(2, 10*patience); return nil }))
}

// A group that has mostOps operations takes no further edit.
func TestGroupIsBounded(t *testing.T) {
	b := newBench(t, 2*mostOps)
	k := b.counted()
	var ops []policy.Op
	for a := netip.MustParseAddr("198.18.0.0"); len(ops) < mostOps; a = a.Next() {
		ops = append(ops, policy.PutOp(entry(a.String())))
	}
	if err := errors.Join(b.together(plan(ops...), plan(policy.PutOp(entry("192.0.2.1"))))...); err != nil {
		t.Fatal(err)
	}
	if k.puts != 2 {
		t.Errorf("the kernel got %d deltas, want 2", k.puts)
	}
}

// A panic while a group is carried out ends all its edits.
func TestGroupPanics(t *testing.T) {
	b := newBench(t, 1000)
	b.Engine.kernel = tracedKernel{b.kernel, func() { panic("a bug") }}
	recovered := func(prefix string) func() error {
		return func() (err error) {
			defer func() {
				if p := recover(); p != nil {
					err = fmt.Errorf("panic: %v", p)
				}
			}()
			return b.Edit(t.Context(), plan(policy.PutOp(entry(prefix))))
		}
	}
	b.turn.Lock()
	first := started(recovered("192.0.2.1"))
	b.waiting(1)
	second := started(recovered("192.0.2.2"))
	b.waiting(2)
	b.turn.Unlock()
	panics, ended := 0, 0
	for _, done := range []<-chan error{first, second} {
		if err := b.result(done); errors.Is(err, errPanicked) {
			ended++
		} else if err != nil {
			panics++
		}
	}
	if panics != 1 || ended != 1 {
		t.Errorf("%d edits panicked and %d were ended, want one each", panics, ended)
	}
}

// Callers take turns: an edit waits for at most one edit of each other caller, however
// many these have sent before. Edits of one caller stay in order. Root and the daemon
// itself come first.
func TestCallersTakeTurns(t *testing.T) {
	b := newBench(t, 1000)
	var order []string
	note := func(name string) func(*policy.Book) ([]policy.Op, error) {
		return func(*policy.Book) ([]policy.Op, error) {
			order = append(order, name)
			return nil, nil
		}
	}
	b.turn.Lock()
	var running []<-chan error
	send := func(caller, name string) {
		running = append(running, b.edit(For(t.Context(), caller), note(name)))
		b.waiting(len(running))
	}
	for i := range 120 {
		send("uid:7", fmt.Sprintf("seven %d", i))
	}
	for i := range 3 {
		send("uid:8", fmt.Sprintf("eight %d", i))
	}
	send("uid:0", "root 0")
	send("uid:0", "root 1")
	send("", "daemon")
	b.turn.Unlock()
	for _, done := range running {
		if err := b.result(done); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"root 0", "daemon", "root 1",
		"seven 0", "eight 0", "seven 1", "eight 1", "seven 2", "eight 2", "seven 3", "seven 4"}
	if diff := cmp.Diff(want, order[:len(want)]); diff != "" || len(order) != 126 {
		t.Errorf("%d edits, in another order (-want +got):\n%s", len(order), diff)
	}
}

// An edit of root is not in the transaction of other users' edits, which may be large.
// It shares one with those of the daemon itself.
func TestRootSharesWithNoUser(t *testing.T) {
	b := newBench(t, 1000)
	k := b.counted()
	deltas := map[string]int{} // how many there were when an edit was planned
	b.turn.Lock()
	var running []<-chan error
	for i, caller := range []string{"uid:7", "", "uid:8", "uid:0"} {
		op := policy.PutOp(entry(fmt.Sprintf("192.0.2.%d", i)))
		running = append(running, b.edit(For(t.Context(), caller), func(*policy.Book) ([]policy.Op, error) {
			deltas[caller] = k.puts
			return []policy.Op{op}, nil
		}))
		b.waiting(len(running))
	}
	b.turn.Unlock()
	for _, done := range running {
		if err := b.result(done); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]int{"": 0, "uid:0": 0, "uid:7": 1, "uid:8": 1}
	if diff := cmp.Diff(want, deltas); diff != "" || k.puts != 2 {
		t.Errorf("%d deltas, want 2; those before an edit (-want +got):\n%s", k.puts, diff)
	}
}

// An edit whose client has gone is not carried out, also if it is the one that gets
// the turn, and it takes no other edit with it.
func TestEditOfAClientThatHasGone(t *testing.T) {
	b := newBench(t, 1000)
	gone, leave := context.WithCancel(t.Context())
	planned := atomic.Bool{}
	b.turn.Lock()
	left := b.edit(gone, func(*policy.Book) ([]policy.Op, error) {
		planned.Store(true)
		return nil, nil
	})
	b.waiting(1)
	stays := b.edit(t.Context(), plan(policy.PutOp(entry("192.0.2.1"))))
	b.waiting(2)
	leave()
	b.turn.Unlock()
	if err := b.result(left); !errors.Is(err, context.Canceled) || planned.Load() {
		t.Errorf("planned: %v, error: %v", planned.Load(), err)
	}
	if err := b.result(stays); err != nil || len(b.agree()) != 1 {
		t.Errorf("the other edit: %v", err)
	}
}

// A list leaves the reserve to root, and no user has more than its share. The import is
// one with few changes, or a large one.
func TestListsLeaveRoom(t *testing.T) {
	all := many(netip.MustParseAddr("198.18.0.0"), 31_000)
	b := newBench(t, 0)
	b.room = policy.RoomFor(30_000, 30_000)
	b.room.Share = 30_000
	for _, c := range []struct {
		lines int
		want  error
	}{{10, nil}, {28_977, ErrFull}, {28_900, nil}, {28_976, nil}, {28_977, ErrFull}, {10, nil}} {
		if _, err := b.importLines(all[:c.lines]...); !errors.Is(err, c.want) {
			t.Errorf("a list of %d: %v, want %v", c.lines, err, c.want)
		}
	}
	b.room.Share = 25_000
	for _, c := range []struct {
		lines int
		want  error
	}{{25_001, ErrFull}, {25_000, nil}, {25_001, ErrFull}} {
		if _, err := b.importLines(all[:c.lines]...); !errors.Is(err, c.want) {
			t.Errorf("a list of %d by one user: %v, want %v", c.lines, err, c.want)
		}
	}
	if _, err := b.importLines(all[:24_976]...); err != nil {
		t.Fatal(err)
	}
	if err := b.block(many(netip.MustParseAddr("203.0.113.0"), 25)...); !errors.Is(err, ErrFull) {
		t.Errorf("25 blocks above the share: %v", err)
	}
	root := entry("203.0.113.1")
	root.Author = policy.AuthorRoot
	if err := b.apply(policy.PutOp(root)); err != nil {
		t.Errorf("root: %v", err)
	}
}
