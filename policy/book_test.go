package policy_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/paraxial/paraxial/policy"
)

var comparePrefixes = cmp.Comparer(func(x, y netip.Prefix) bool { return x == y })

const second = policy.Deadline(time.Second)

// The kernel with the deltas applied must decide as the golden model does, which
// looks at every entry.
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
				now := policy.Deadline(w.IntN(110))*second + policy.Deadline(w.IntN(1e9))
				checkDecision(t, b, entries, k, w.addr(), now)
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

// checkDecision compares the kernel's decision about src with that of the model.
func checkDecision(
	t *testing.T, b *policy.Book, entries []policy.Entry, k kernel, src netip.Addr, now policy.Deadline,
) {
	t.Helper()
	got, hit := k.decide(src, now)
	if want := policy.Decide(entries, src, now); got != want {
		t.Fatalf("source %s at %d: kernel %s, model %s\nbook: %v", src, now, got, want, entries)
	}
	if got, want := k.decideReply(src, now), policy.DecideReply(entries, src, now); got != want {
		t.Fatalf("answer from %s at %d: kernel %s, model %s\nbook: %v", src, now, got, want, entries)
	}
	switch got {
	case policy.Limited:
		if got, want := k.limit(src, now).Rate, policy.DecideLimit(entries, src, now); got != want {
			t.Fatalf("source %s at %d: kernel limits to %s, model to %s\nbook: %v", src, now, got, want, entries)
		}
	case policy.Blocked:
		if owner := wantHit(entries, src); owner.live(now) && hit != b.HitID(owner.prefix) {
			t.Fatalf("source %s at %d: counter %d, want %d, the counter of %s",
				src, now, hit, b.HitID(owner.prefix), owner.prefix)
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

// hitOwner is the longest prefix that drops a source: its counter counts the drop.
type hitOwner struct {
	prefix netip.Prefix
	until  policy.Deadline
}

func (h hitOwner) live(now policy.Deadline) bool { return policy.TickAt(now) < h.until.Tick() }

func wantHit(entries []policy.Entry, src netip.Addr) hitOwner {
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
		t.Fatalf("the book has %d nodes, the kernel %d", size, len(k.nodes))
	}
	if b.Limits() != len(k.limits) {
		t.Fatalf("the book has %d limits, the kernel %d", b.Limits(), len(k.limits))
	}
}

func block(prefix string, deadline policy.Deadline) policy.Entry {
	return policy.Entry{
		Prefix: netip.MustParsePrefix(prefix), Kind: policy.Block, Action: policy.Drop,
		Origin: "cli", Deadline: deadline,
	}
}

// putBlocks returns the ops that block each prefix forever.
func putBlocks(prefixes ...string) (ops []policy.Op) {
	for _, p := range prefixes {
		ops = append(ops, policy.PutOp(block(p, policy.Forever)))
	}
	return ops
}

func apply(b *policy.Book, ops ...policy.Op) policy.Delta {
	d, _ := b.Apply(ops)
	return d
}

// A change of a covering entry rewrites only those covered nodes whose verdict
// changes.
func TestDeltaTouchesOnlyWhatChanges(t *testing.T) {
	b := policy.NewBook(100)
	apply(b,
		policy.PutOp(block("10.0.0.1/32", policy.Forever)),
		policy.PutOp(block("10.0.0.2/32", 5*second)),
		policy.PutOp(block("11.0.0.1/32", 5*second)))

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

// A shadow entry changes no covered node that drops for as long or longer, and those that drop
// for less.
func TestShadowLeavesBlocksAlone(t *testing.T) {
	b := policy.NewBook(100)
	apply(b,
		policy.PutOp(block("10.0.0.1/32", policy.Forever)),
		policy.PutOp(block("10.0.0.2/32", 5*second)))
	wide := block("10.0.0.0/24", 10*second)
	wide.Action = policy.Shadow
	for _, step := range []struct {
		name string
		op   policy.Op
	}{{"put", policy.PutOp(wide)}, {"remove", policy.RemoveOp(wide.Key())}} {
		for _, n := range apply(b, step.op).Put {
			if n.Prefix == netip.MustParsePrefix("10.0.0.1/32") {
				t.Errorf("%s: the node of a block that never ends changes: %+v", step.name, n)
			}
		}
	}
	apply(b, policy.PutOp(wide))
	n, _ := b.Node(policy.Block, netip.MustParsePrefix("10.0.0.2/32"))
	if n.Verdict.Shadow != wide.Deadline.Tick() {
		t.Errorf("the shadow that outlasts the block is missing: %+v", n.Verdict)
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
			t.Errorf("%s is returned as expired, but lives until %d", e.Prefix, e.Deadline)
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

// When a pending entry expires, the confirmed entry must be in force as before.
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
		t.Errorf("while pending, the drop ends at tick %d, want the tick of 60 s", n.Verdict.Drop)
	}
	apply(b, policy.RemoveOp(pending.Key()))
	if n, _ := b.Node(policy.Block, pending.Prefix); n.Verdict.Drop != (20 * second).Tick() {
		t.Errorf("after the revert, the drop ends at tick %d, want the tick of 20 s", n.Verdict.Drop)
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
	d := apply(b, putBlocks("10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32")...)
	seen := map[uint32]int{}
	for _, n := range d.Put {
		seen[n.Verdict.HitID]++
	}
	if diff := cmp.Diff(map[uint32]int{0: 1, 1: 1, 2: 1}, seen); diff != "" {
		t.Fatalf("counters handed out (-want +got):\n%s", diff)
	}
	apply(b, policy.RemoveOp(block("10.0.0.1/32", 0).Key()))
	d = apply(b, putBlocks("10.0.0.4/32")...)
	if d.Put[0].Verdict.HitID != 1 || !slices.Equal(d.FreshHits, []uint32{1}) {
		t.Errorf("the freed counter is not handed out again: %+v", d)
	}
}

// RefsOf has the entries of the origin that Refs has, pending ones too, by ascending prefix.
func TestRefsOf(t *testing.T) {
	w := newWorld(t)
	b := policy.NewBook(1000)
	for range 400 {
		e := w.entry()
		ops := []policy.Op{policy.PutOp(e)}
		if w.IntN(3) == 0 {
			ops = append(ops, policy.RemoveOp(e.Key())) // leaves free records
		}
		b.Apply(ops)
	}
	for _, k := range []policy.Kind{policy.Block, policy.Allow} {
		for _, origin := range []string{"cli", "feed:a", "detector:b", "nobody"} {
			var want []policy.EntryRef
			for _, r := range b.Refs(k) {
				if e, _ := b.Resolve(r); e.Origin == origin {
					want = append(want, r)
				}
			}
			got := b.RefsOf(k, origin)
			for i := 1; i < len(got); i++ {
				x, _ := b.Resolve(got[i-1])
				y, _ := b.Resolve(got[i])
				if y.Prefix.Compare(x.Prefix) < 0 {
					t.Errorf("%s of %s: %s comes after %s", k, origin, y.Prefix, x.Prefix)
				}
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s of %s: %d entries, want %d", k, origin, len(got), len(want))
			}
		}
	}
}
