package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/paraxial/paraxial/policy"
)

var comparePrefixes = cmp.Comparer(func(x, y netip.Prefix) bool { return x == y })

// kernel is what deltas make of the tries and limits, in the plainest form.
type kernel struct {
	nodes  map[kernelKey]policy.Verdict
	limits map[uint32]policy.LimitRecord
}

func newKernel() kernel {
	return kernel{make(map[kernelKey]policy.Verdict), make(map[uint32]policy.LimitRecord)}
}

type kernelKey struct {
	kind   policy.Kind
	prefix netip.Prefix
}

func (k kernel) apply(t *testing.T, d policy.Delta) {
	t.Helper()
	for _, l := range d.Limits {
		old, ok := k.limits[l.ID]
		if l.Fresh == ok && old.Owner == l.Owner {
			t.Errorf("limit %d is fresh %t, and the kernel has it %t", l.ID, l.Fresh, ok)
		}
		if l.Fresh = false; old == l {
			t.Errorf("delta writes limit %d although the kernel has it so", l.ID)
		}
		k.limits[l.ID] = l
	}
	for _, n := range d.Put {
		key := kernelKey{n.Kind, n.Prefix}
		if old, ok := k.nodes[key]; ok && old == n.Verdict {
			t.Errorf("delta puts %s %s although the kernel has it so", n.Kind, n.Prefix)
		}
		k.nodes[key] = n.Verdict
	}
	for _, n := range d.Delete {
		key := kernelKey{n.Kind, n.Prefix}
		if _, ok := k.nodes[key]; !ok {
			t.Errorf("delta deletes %s %s, which the kernel has not", n.Kind, n.Prefix)
		}
		delete(k.nodes, key)
	}
	for _, id := range d.FreeLimits {
		if _, ok := k.limits[id]; !ok {
			t.Errorf("delta frees limit %d, which the kernel has not", id)
		}
		delete(k.limits, id)
	}
}

func (k kernel) longest(kind policy.Kind, src netip.Addr) (policy.Verdict, bool) {
	for bits := src.BitLen(); bits >= 0; bits-- {
		p, err := src.Prefix(bits)
		if err != nil {
			panic(err)
		}
		if v, ok := k.nodes[kernelKey{kind, p}]; ok {
			return v, true
		}
	}
	return policy.Verdict{}, false
}

// decide does what bpf/verdict.h does, and also returns the drop counter. Of a
// limit it returns nothing, but see limit.
func (k kernel) decide(src netip.Addr, now policy.Deadline) (policy.Outcome, uint32) {
	tick := policy.TickAt(now)
	if v, ok := k.longest(policy.Allow, src); ok && tick < v.Allow {
		return policy.Allowed, 0
	}
	v, ok := k.longest(policy.Block, src)
	switch {
	case ok && tick < v.Drop:
		return policy.Blocked, v.HitID
	case ok && tick < v.Limit:
		return policy.Limited, 0
	case ok && tick < v.Shadow:
		return policy.Shadowed, v.HitID
	}
	return policy.NotListed, 0
}

const second = policy.Deadline(time.Second)

// world makes random books in a small corner of the address space, so that
// prefixes nest and collide.
type world struct{ *rand.Rand }

func newWorld(t *testing.T) world {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return world{rand.New(rand.NewPCG(seed, 0))}
}

func (w world) addr() netip.Addr {
	if w.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{10, byte(w.IntN(2)), 0, byte(w.IntN(8))})
	}
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	a[7], a[15] = byte(w.IntN(2)), byte(w.IntN(8))
	return netip.AddrFrom16(a)
}

func (w world) prefix() netip.Prefix {
	a := w.addr()
	bits := a.BitLen() - w.IntN(6)
	if w.IntN(3) == 0 {
		bits = 8 + w.IntN(a.BitLen()-8)
	}
	p, err := a.Prefix(bits)
	if err != nil {
		panic(err)
	}
	return p
}

func (w world) entry() policy.Entry {
	e := policy.Entry{
		Prefix:   w.prefix(),
		Kind:     policy.Block,
		Action:   policy.Drop,
		Origin:   []string{"cli", "feed:a", "detector:b"}[w.IntN(3)],
		Reason:   []string{"", "why"}[w.IntN(2)],
		Created:  time.Unix(1e9, 0).UTC(),
		Deadline: policy.Forever,
	}
	switch w.IntN(5) {
	case 0:
		e.Kind, e.Action = policy.Allow, policy.NoAction
	case 1:
		e.Action = policy.Shadow
	case 2, 3:
		// No more rates than the kernel takes steps.
		e.Action, e.Rate = policy.Limit, []policy.Rate{
			{PerSecond: 1, Unit: policy.Packets}, {PerSecond: 1001, Unit: policy.Bytes}, {PerSecond: 100, Unit: policy.Packets}, {PerSecond: 1e9, Unit: policy.Bytes},
		}[w.IntN(4)]
	}
	if w.IntN(3) > 0 {
		e.Deadline = policy.Deadline(w.IntN(100)) * second
	}
	if w.IntN(8) == 0 {
		e.Deadline = policy.Deadline(w.IntN(100)) * second
		e.Pending = &policy.Pending{ID: []string{"p", "q"}[w.IntN(2)], Deadline: policy.Forever}
	}
	if w.IntN(4) == 0 {
		e.Evidence = &policy.Evidence{Detector: "b", Count: w.Uint64()}
	}
	return e
}

func everything(b *policy.Book) []policy.Entry {
	return slices.Concat(slices.Collect(b.Entries(policy.Block)), slices.Collect(b.Entries(policy.Allow)))
}

func (w world) ops(b *policy.Book, n int) []policy.Op {
	var ops []policy.Op
	present := everything(b)
	for range n {
		switch {
		case len(present) > 0 && w.IntN(3) == 0:
			ops = append(ops, policy.RemoveOp(present[w.IntN(len(present))].Key()))
		case w.IntN(20) == 0:
			ops = append(ops, policy.RemoveOp(w.entry().Key()))
		default:
			ops = append(ops, policy.PutOp(w.entry()))
		}
	}
	return ops
}

// The deltas, applied to a trie, must give what the golden model gives by
// looking at every entry.
func TestDeltasFollowModel(t *testing.T) {
	w := newWorld(t)
	for range 60 {
		b, k := policy.NewBook(1000), newKernel()
		for range 30 {
			before := verdicts(k)
			delta, undo := b.Apply(w.ops(b, 1+w.IntN(10)))
			k.apply(t, delta)
			entries := everything(b)
			for range 60 {
				src, now := w.addr(), policy.Deadline(w.IntN(110))*second+policy.Deadline(w.IntN(1e9))
				got, hit := k.decide(src, now)
				if want := policy.Decide(entries, src, now); got != want {
					t.Fatalf("source %s at %d: kernel %s, model %s\nbook: %v", src, now, got, want, entries)
				}
				if want := policy.DecideLimit(entries, src, now); got == policy.Limited && k.limit(src, now).Rate != want {
					t.Fatalf("source %s at %d: kernel limits to %s, model to %s\nbook: %v", src, now, k.limit(src, now).Rate, want, entries)
				}
				if want := wantHit(b, entries, src); got == policy.Blocked && want.live(now) && hit != b.HitID(want.prefix) {
					t.Fatalf("source %s at %d: counted for %d, want that of %s, %d", src, now, hit, want.prefix, b.HitID(want.prefix))
				}
			}
			checkCompiled(t, b, k)
			if w.IntN(3) == 0 {
				delta, _ := b.Apply(undo)
				k.apply(t, delta)
				checkCompiled(t, b, k)
				if diff := cmp.Diff(before, verdicts(k), ignoreHits); diff != "" {
					t.Fatalf("undo leaves the kernel different (-before +after):\n%s", diff)
				}
			}
		}
	}
}

var ignoreHits = cmpopts.IgnoreFields(policy.Verdict{}, "HitID", "LimitID")

func verdicts(k kernel) map[string]policy.Verdict {
	m := make(map[string]policy.Verdict)
	for key, v := range k.nodes {
		m[fmt.Sprint(key.kind, key.prefix)] = v
	}
	return m
}

// hitOwner is the longest prefix that drops src, whose counter a drop is for.
type hitOwner struct {
	prefix netip.Prefix
	until  policy.Deadline
}

func (h hitOwner) live(now policy.Deadline) bool { return policy.TickAt(now) < h.until.Tick() }

func wantHit(_ *policy.Book, entries []policy.Entry, src netip.Addr) hitOwner {
	var owner hitOwner
	for _, e := range entries {
		if e.Action != policy.Drop || !e.Prefix.Contains(src) {
			continue
		}
		if e.Prefix.Bits() > owner.prefix.Bits() || !owner.prefix.IsValid() {
			owner = hitOwner{e.Prefix, e.Deadline}
		} else if e.Prefix == owner.prefix {
			owner.until = max(owner.until, e.Deadline)
		}
	}
	return owner
}

func checkCompiled(t *testing.T, b *policy.Book, k kernel) {
	t.Helper()
	compiled := newKernel()
	for _, kind := range []policy.Kind{policy.Block, policy.Allow} {
		for n := range b.Nodes(kind) {
			compiled.nodes[kernelKey{n.Kind, n.Prefix}] = n.Verdict
		}
	}
	if diff := cmp.Diff(verdicts(compiled), verdicts(k)); diff != "" {
		t.Fatalf("the book's nodes differ from the kernel (-book +kernel):\n%s", diff)
	}
	size := b.Size(policy.Block, policy.IPv4) + b.Size(policy.Block, policy.IPv6) +
		b.Size(policy.Allow, policy.IPv4) + b.Size(policy.Allow, policy.IPv6)
	if size != len(k.nodes) {
		t.Fatalf("the book says %d nodes, the kernel has %d", size, len(k.nodes))
	}
	if b.Limits() != len(k.limits) {
		t.Fatalf("the book says %d limits, the kernel has %d", b.Limits(), len(k.limits))
	}
}

func block(prefix string, deadline policy.Deadline) policy.Entry {
	return policy.Entry{Prefix: netip.MustParsePrefix(prefix), Kind: policy.Block, Action: policy.Drop, Origin: "cli", Deadline: deadline}
}

func apply(b *policy.Book, ops ...policy.Op) policy.Delta {
	d, _ := b.Apply(ops)
	return d
}

// A change of a covering entry rewrites only the covered nodes it changes.
func TestDeltaTouchesOnlyWhatChanges(t *testing.T) {
	b := policy.NewBook(100)
	apply(b, policy.PutOp(block("10.0.0.1/32", policy.Forever)), policy.PutOp(block("10.0.0.2/32", 5*second)), policy.PutOp(block("11.0.0.1/32", 5*second)))

	d := apply(b, policy.PutOp(block("10.0.0.0/24", 10*second)))
	var put []string
	for _, n := range d.Put {
		put = append(put, n.Prefix.String())
	}
	slices.Sort(put)
	if diff := cmp.Diff([]string{"10.0.0.0/24", "10.0.0.2/32"}, put); diff != "" || len(d.Delete) != 0 {
		t.Errorf("put (-want +got):\n%s\ndelete %v", diff, d.Delete)
	}

	other := block("10.0.0.0/24", 3*second)
	other.Origin = "feed:x"
	if d := apply(b, policy.PutOp(other)); !d.Empty() {
		t.Errorf("a second origin that ends sooner changes the kernel: %+v", d)
	}
}

func TestExpired(t *testing.T) {
	b := policy.NewBook(10_000)
	for i := range 1000 {
		e := block(fmt.Sprintf("10.0.%d.%d/32", i/256, i%256), policy.Deadline(1+i%100)*second)
		if i%10 == 0 {
			e.Deadline = policy.Forever
		}
		apply(b, policy.PutOp(e))
	}
	const now = 50 * second
	want := 0
	for e := range b.Entries(policy.Block) {
		if !e.Live(now) {
			want++
		}
	}
	due := b.Expired(now, 1e6)
	if len(due) != want || want == 0 {
		t.Fatalf("%d expired, want %d", len(due), want)
	}
	for _, e := range due {
		if e.Live(now) {
			t.Errorf("%s is said to have expired, but lives until %d", e.Prefix, e.Deadline)
		}
	}
	if got := len(b.Expired(now, 7)); got != 7 {
		t.Errorf("%d returned, limit 7", got)
	}
	for _, e := range due {
		apply(b, policy.RemoveOp(e.Key()))
	}
	if left := b.Expired(now, 10); len(left) != 0 {
		t.Errorf("still expired after removal: %v", left)
	}
}

// Letting a pending entry lapse must leave what stood there before.
func TestPendingStandsBeside(t *testing.T) {
	b := policy.NewBook(10)
	apply(b, policy.PutOp(block("192.0.2.0/24", 20*second)))
	pending := block("192.0.2.0/24", 60*second)
	pending.Pending = &policy.Pending{ID: "abc", Deadline: policy.Forever}
	apply(b, policy.PutOp(pending))

	if got := b.Pending("abc"); len(got) != 1 || got[0].Pending.Deadline != policy.Forever {
		t.Fatalf("pending: %v", got)
	}
	if got := b.Pending("other"); len(got) != 0 {
		t.Fatalf("pending under another ID: %v", got)
	}
	if n, _ := b.Node(policy.Block, pending.Prefix); n.Verdict.Drop != (60 * second).Tick() {
		t.Errorf("while pending, the drop ends at tick %d, want that of 60 s", n.Verdict.Drop)
	}
	apply(b, policy.RemoveOp(pending.Key()))
	if n, _ := b.Node(policy.Block, pending.Prefix); n.Verdict.Drop != (20 * second).Tick() {
		t.Errorf("after the revert, the drop ends at tick %d, want that of 20 s", n.Verdict.Drop)
	}
}

func TestCounts(t *testing.T) {
	w := newWorld(t)
	b := policy.NewBook(1000)
	for range 50 {
		b.Apply(w.ops(b, 10))
	}
	want := make(map[policy.Group]int)
	for _, e := range everything(b) {
		want[policy.Group{Kind: e.Kind, Family: policy.FamilyOf(e.Prefix.Addr()), Origin: e.Origin}]++
	}
	got := make(map[policy.Group]int)
	for g, n := range b.Counts() {
		got[g] = n
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestHitsRunOut(t *testing.T) {
	b := policy.NewBook(3) // counters 1 and 2
	d := apply(b, policy.PutOp(block("10.0.0.1/32", policy.Forever)), policy.PutOp(block("10.0.0.2/32", policy.Forever)), policy.PutOp(block("10.0.0.3/32", policy.Forever)))
	seen := map[uint32]int{}
	for _, n := range d.Put {
		seen[n.Verdict.HitID]++
	}
	if diff := cmp.Diff(map[uint32]int{0: 1, 1: 1, 2: 1}, seen); diff != "" {
		t.Fatalf("counters dealt (-want +got):\n%s", diff)
	}
	apply(b, policy.RemoveOp(block("10.0.0.1/32", 0).Key()))
	d = apply(b, policy.PutOp(block("10.0.0.4/32", policy.Forever)))
	if d.Put[0].Verdict.HitID != 1 || !slices.Equal(d.FreshHits, []uint32{1}) {
		t.Errorf("the freed counter is not handed out again: %+v", d)
	}
}
