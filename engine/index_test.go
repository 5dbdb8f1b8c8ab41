package engine

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/paraxial/paraxial/index"
	"github.com/paraxial/paraxial/policy"
)

// While generations are built and put in force, every change that was made is in
// force, and nothing else is.
func TestIndexFollowsWhileItIsBuilt(t *testing.T) {
	b := newIndexBench(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	b.slots.swap1 = func(put func()) {
		// Readers may finish at once, or after a while.
		if rand.IntN(2) == 0 {
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
			put()
			return
		}
		put()
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
	}
	random := func() netip.Prefix {
		bits := []int{12, 15, 16, 20, 24, 24, 28, 32, 32, 32, 32, 32}[rng.IntN(12)]
		a := netip.AddrFrom4([4]byte{10, byte(rng.IntN(4)), byte(rng.IntN(256)), byte(rng.IntN(256))})
		return netip.PrefixFrom(a, bits).Masked()
	}
	answers := map[index.Answer]int{}
	for range 1500 {
		var ops []policy.Op
		for range 1 + rng.IntN(3) {
			op := blockOf(random())
			switch rng.IntN(8) {
			case 0, 1, 2:
				op = policy.RemoveOp(op.Put.Key())
			case 3:
				op.Put.Kind, op.Put.Action = policy.Allow, policy.NoAction
				op.Put.Prefix = netip.PrefixFrom(op.Put.Prefix.Addr(), 32)
			case 4:
				host := netip.PrefixFrom(op.Put.Prefix.Addr(), 32)
				op = policy.RemoveOp(policy.Key{Kind: policy.Allow, Prefix: host, Origin: "cli"})
			}
			ops = append(ops, op)
		}
		b.apply(ops...)
		for range 20 {
			a := random().Addr()
			b.check(a) // only this goroutine changes the book
			answers[b.slots.ask(a)]++
		}
	}
	b.settled()
	t.Logf("%d swaps, %d times without an index, answers %v", b.slots.swaps, b.slots.clears, answers)
	if b.slots.swaps < 5 || answers[index.Drop] < 1000 {
		t.Error("too few builds and answers: nothing was tested")
	}
}

// drafting makes builds wait for a value from the channel, until the channel is closed.
func (b *indexBench) drafting() chan<- error {
	results := make(chan error)
	b.builds = func() error { return <-results }
	return results
}

// fill makes changes until the generation in force is full.
func (b *indexBench) fill() (made int) {
	for i, op := range scattered(5000) {
		if b.slots.clears > 0 {
			return i
		}
		b.apply(op)
	}
	b.Fatal("5000 changes had room")
	return 0
}

// changeUntilDraft makes changes until the next generation is begun.
func (b *indexBench) changeUntilDraft() {
	for _, op := range scattered(5000) {
		if b.apply(op); b.v4.draft != nil {
			return
		}
	}
	b.Fatal("5000 changes began no generation")
}

// If the generation in force gets full before the next one is built, a change
// neither waits for the build nor is lost.
func TestFullIndexDoesNotHoldUp(t *testing.T) {
	b := newIndexBench(t)
	builds := b.drafting()
	made := b.fill()
	if b.v4.draft == nil || b.slots.swaps != 1 {
		t.Fatalf("after %d changes %d generations were in force, but the next one has not begun", made, b.slots.swaps)
	}
	// Without an index, and while one is being built.
	late := blockOf(netip.MustParsePrefix("172.16.0.1/32"))
	b.apply(late, policy.RemoveOp(scattered(1)[0].Put.Key()))
	close(builds)
	b.settled()
	for a, want := range map[string]index.Answer{
		"172.16.0.1": index.Drop, "10.0.0.1": index.Clean, "10.0.1.1": index.Drop, "172.16.0.2": index.Clean,
	} {
		if got := b.slots.ask(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: the index says %d, want %d", a, got, want)
		}
	}
}

// The next generation is ready before the one in force is full.
func TestNextIndexIsBegunInTime(t *testing.T) {
	b := newIndexBench(t)
	for _, op := range scattered(3000) {
		b.apply(op)
		// The next change comes when the build is done.
		b.settled()
	}
	if b.slots.clears > 0 {
		t.Errorf("%d times there was no index", b.slots.clears)
	}
	if b.slots.swaps > 200 {
		t.Errorf("3000 changes took %d generations", b.slots.swaps)
	}
}

// A failed build leaves the generation in force as long as it has room, and is retried.
func TestDraftFails(t *testing.T) {
	b := newIndexBench(t)
	builds := b.drafting()
	failed := 0
	for i, op := range scattered(5000) {
		b.apply(op)
		if b.v4.draft != nil && failed < 2 {
			builds <- errors.New("no memory")
			b.settled()
			failed++
		}
		if failed == 2 && b.slots.clears > 0 {
			break
		}
		if i == 4999 {
			t.Fatal("5000 changes had room")
		}
	}
	close(builds)
	b.settled()
	b.apply(blockOf(netip.MustParsePrefix("172.16.0.1/32")))
	b.settled()
	if got := b.slots.ask(netip.MustParseAddr("172.16.0.1")); got != index.Drop {
		t.Errorf("the index says %d, want %d", got, index.Drop)
	}
}

// If a generation cannot be put in force, the tries decide alone until the next one.
func TestSwapFails(t *testing.T) {
	b := newIndexBench(t)
	b.slots.fail = errors.New("kernel says no")
	for _, op := range scattered(5000) {
		b.apply(op)
		b.settled()
		if b.slots.clears > 0 {
			break
		}
	}
	if b.slots.current != nil {
		t.Fatal("an index is in force that does not receive changes")
	}
	b.slots.fail = nil
	b.apply(blockOf(netip.MustParsePrefix("172.16.0.1/32")))
	b.settled()
	if got := b.slots.ask(netip.MustParseAddr("172.16.0.1")); got != index.Drop {
		t.Errorf("the index says %d, want %d", got, index.Drop)
	}
}

// While a generation is being put in force, changes go to both generations. A change that does not
// fit the old one waits at most for the new one.
func TestChangeWhileSwapping(t *testing.T) {
	for name, after := range map[string]error{"in force": nil, "failed": errors.New("kernel says no")} {
		t.Run(name, func(t *testing.T) {
			b := newIndexBench(t)
			swapping, letGo := make(chan struct{}), make(chan struct{})
			first := sync.OnceFunc(func() {
				close(swapping)
				<-letGo
			})
			b.slots.swap1 = func(put func()) { first(); put() }
			builds := b.drafting()
			b.changeUntilDraft()
			builds <- nil
			<-swapping
			b.slots.setFail(after)
			b.apply(blockOf(netip.MustParsePrefix("172.16.0.1/32")))
			if got := b.slots.ask(netip.MustParseAddr("172.16.0.1")); got != index.Drop {
				t.Errorf("in the generation before: the index says %d, want %d", got, index.Drop)
			}
			time.AfterFunc(20*time.Millisecond, func() { close(letGo) })
			b.apply(blockOf(netip.MustParsePrefix("0.0.0.0/7"))) // no generation has room for this
			b.slots.setFail(nil)
			time.Sleep(30 * time.Millisecond)
			b.check(netip.MustParseAddr("1.2.3.4"))
			close(builds)
			b.settled()
			b.apply(blockOf(netip.MustParsePrefix("172.16.0.2/32")))
			b.settled()
			for _, a := range []string{"172.16.0.1", "172.16.0.2", "1.2.3.4"} {
				if got := b.slots.ask(netip.MustParseAddr(a)); got != index.Drop {
					t.Errorf("%s: the index says %d, want %d", a, got, index.Drop)
				}
			}
		})
	}
}

// A list is built at once, and replaces a draft that was begun before.
func TestListReplacesDraft(t *testing.T) {
	b := newIndexBench(t)
	builds := b.drafting()
	b.changeUntilDraft()
	go func() {
		for b.lock.TryLock() {
			b.lock.Unlock()
			time.Sleep(time.Millisecond)
		}
		close(builds) // only now, because the change is under way
	}()
	var list []policy.Op
	for i := range patchMost + 1 {
		list = append(list, blockOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), 32)))
	}
	b.apply(list...)
	b.drafts.Wait()
	if b.slots.swaps != 2 || b.v4.before != nil {
		t.Errorf("%d generations came into force, want 2: what the draft was to be is out of date", b.slots.swaps)
	}
	if got := b.slots.ask(netip.MustParseAddr("172.16.0.1")); got != index.Drop {
		t.Errorf("the index says %d, want %d", got, index.Drop)
	}
}

// hold releases the snapshot of a draft, so that a large change does not have to
// copy the table. Until renew no draft is begun, and renew puts the changes in force
// that follow was not told of.
func TestHoldAndRenew(t *testing.T) {
	b := newIndexBench(t)
	builds := b.drafting()
	b.changeUntilDraft()
	snapshot := b.v4.draft.snapshot
	go func() { builds <- nil }()
	b.hold(b.book)
	b.drafts.Wait()
	if !snapshot.Released() || b.v4.draft != nil {
		t.Errorf("the snapshot is released: %t, a draft is under way: %t", snapshot.Released(), b.v4.draft != nil)
	}
	for _, op := range scattered(3000) {
		if b.apply(op); b.v4.draft != nil {
			t.Fatal("a draft is begun while the index is held")
		}
	}
	b.lock.Lock()
	b.book.Apply([]policy.Op{blockOf(netip.MustParsePrefix("172.16.0.1/32"))})
	b.lock.Unlock()
	close(builds)
	b.renew(b.book)
	if got := b.slots.ask(netip.MustParseAddr("172.16.0.1")); got != index.Drop {
		t.Errorf("after renew the index says %d, want %d", got, index.Drop)
	}
}

// If the index cannot be built or put in force after a change that it was not told
// of, the old one must not stay.
func TestRenewFails(t *testing.T) {
	for name, breaks := range map[string]func(*indexBench){
		"build": func(b *indexBench) { b.builds = func() error { return errors.New("no memory") } },
		"swap":  func(b *indexBench) { b.slots.setFail(errors.New("kernel says no")) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newIndexBench(t)
			b.hold(b.book)
			breaks(b)
			b.renew(b.book)
			if b.slots.current != nil {
				t.Error("an index is in force that lacks changes")
			}
		})
	}
}

// The index sends expired sources to the tries until the next generation.
func TestLapsed(t *testing.T) {
	b := newIndexBench(t)
	ops := scattered(driftLeast + 10)
	for i := range ops {
		ops[i].Put.Deadline = 1 // long past
	}
	b.lock.Lock()
	b.book.Apply(ops)
	b.rebuild(b.book, &b.v4)
	for i := range ops {
		delta, _ := b.book.Apply([]policy.Op{policy.RemoveOp(ops[i].Put.Key())})
		if b.lapsed(b.book, delta.Put, delta.Delete); b.v4.draft == nil && i < driftLeast-10 {
			if got := b.slots.ask(ops[i].Put.Prefix.Addr()); got != index.Ask {
				t.Fatalf("the index says %d, want %d", got, index.Ask)
			}
		}
	}
	b.lock.Unlock()
	b.settled()
	if got := b.slots.ask(ops[0].Put.Prefix.Addr()); got != index.Clean {
		t.Errorf("the index says %d, want %d", got, index.Clean)
	}
}

// countedGeneration counts updates. It has room for changes, or none.
type countedGeneration struct {
	index.V4
	room    bool
	updates int
}

func (g *countedGeneration) Update(netip.Prefix) bool { g.updates++; return g.room }
func (g *countedGeneration) Lines() (uint32, uint32)  { return 1, 1 }

// A generation without room is given up at once, and not tried for every prefix.
func TestPatchGivesUpAtOnce(t *testing.T) {
	full := new(countedGeneration)
	f := family{now: full}
	if f.patch([]netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.0.0.2/32")}) {
		t.Error("a full generation was patched")
	}
	if full.updates != 1 {
		t.Errorf("%d prefixes were tried, want 1", full.updates)
	}
}

// An update covers a whole /24, which may have hundreds of the changed addresses. It is
// made once.
func TestPatchUpdatesEachRegionOnce(t *testing.T) {
	g := &countedGeneration{room: true}
	f := family{now: g}
	var changed []netip.Prefix
	for a := netip.MustParseAddr("198.51.100.0"); len(changed) < 1000; a = a.Next() {
		changed = append(changed, netip.PrefixFrom(a, 32))
	}
	if changed = append(changed, netip.MustParsePrefix("203.0.0.0/16")); !f.patch(changed) {
		t.Error("the changes were not patched")
	}
	if g.updates != 5 {
		t.Errorf("%d updates for 1000 addresses of four /24 and one /16, want 5", g.updates)
	}
}
