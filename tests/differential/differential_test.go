// Package differential compares the packet program with the golden model:
// random books, sources and times, through the deltas that the daemon applies.
package differential

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/index"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/inner"
	"github.com/paraxial/paraxial/tests/testenv"
)

const (
	defaultCases   = 300_000
	sourcesPerBook = 1500
	leastBooks     = 10
	entriesPerBook = 60
	timesPerBook   = 4
	capacity       = 4096
	reasonsPerSlot = 64
	xdpDrop        = 1
	xdpPass        = 2
	margin         = 4 * time.Second // no deadline ends while a book is checked
	checkTime      = time.Second     // longest time that one book is checked
	farthest       = 200             // seconds
	seedVariable   = "PARAXIAL_SEED"
	casesVariable  = "PARAXIAL_CASES"
)

// TestProgramAgainstModel runs PARAXIAL_CASES cases, or 300,000. To repeat a failure, set
// PARAXIAL_SEED to the seed that it printed.
func TestProgramAgainstModel(t *testing.T) {
	testenv.Root(t)
	seed := fromEnvironment(t, seedVariable, rand.Uint64())
	cases := fromEnvironment(t, casesVariable, defaultCases)
	t.Logf("%s=%d %s=%d", seedVariable, seed, casesVariable, cases)

	for n, build := range []string{"plain", "frags", "plain, tries alone"} {
		t.Run(build, func(t *testing.T) {
			object, _, alone := strings.Cut(build, ",")
			if object == "frags" {
				testenv.Since(t, 5, 18, "xdp.frags")
			}
			k := loadKernel(t, object, !alone, !alone)
			w := &world{rand.New(rand.NewPCG(seed, uint64(n)))}
			var tally tally
			// A short run checks the same number of books; otherwise it would sometimes miss an
			// outcome.
			sources := min(sourcesPerBook, cases/3/timesPerBook/leastBooks+1)
			for done := uint64(0); done < cases/3; {
				done += k.checkBook(t, w, sources, &tally)
			}
			t.Logf("%d cases: %+v", tally.total(), tally)
			// A run that never saw one of the outcomes has not tested it.
			if tally.NotListed == 0 || tally.Allowed == 0 || tally.Blocked == 0 || tally.Shadowed == 0 ||
				tally.Limited == 0 {
				t.Errorf("not every outcome occurred: %+v", tally)
			}
		})
	}
}

func fromEnvironment(t *testing.T, name string, otherwise uint64) uint64 {
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

type tally struct{ NotListed, Allowed, Blocked, Shadowed, Limited uint64 }

func (t tally) total() uint64 { return t.NotListed + t.Allowed + t.Blocked + t.Shadowed + t.Limited }

func (t *tally) count(o policy.Outcome) {
	switch o {
	case policy.NotListed:
		t.NotListed++
	case policy.Allowed:
		t.Allowed++
	case policy.Blocked:
		t.Blocked++
	case policy.Shadowed:
		t.Shadowed++
	case policy.Limited:
		t.Limited++
	}
}

// kernel is the shipped object, loaded with its own maps, and optionally the index in front of
// them.
type kernel struct {
	*ebpf.Collection
	program *ebpf.Program
	spec    *ebpf.CollectionSpec
	indexed bool
	tunnels bool // it looks into them
	limits  limits
	book    *policy.Book // one for all cases, because the index reads it
	v4      *index.V4
	v6      *index.V6
}

func loadKernel(t *testing.T, build string, indexed, tunnels bool) *kernel {
	t.Helper()
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	arch := map[string]string{"amd64": "x86", "arm64": "arm64"}[runtime.GOARCH]
	spec, err := ebpf.LoadCollectionSpec(filepath.Join("..", "..", "loader", build+"_"+arch+"_bpfel.o"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"block_v4", "block_v6", "allow_v4", "allow_v6"} {
		spec.Maps[name].MaxEntries = capacity
	}
	if tunnels {
		for name, value := range tunnelConstants {
			if err := spec.Variables[name].Set(value); err != nil {
				t.Fatal(err)
			}
		}
	}
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	inner.HitSegment(t, spec, c.Maps["hits"])
	return &kernel{
		Collection: c, program: c.Programs["paraxial"], spec: spec, indexed: indexed, tunnels: tunnels,
		book:   policy.NewBook(capacity),
		limits: limits{inner.LimitSegment(t, spec, c.Maps["limits"]), map[uint32]policy.Rate{}},
	}
}

func (k *kernel) trie(kind policy.Kind, p netip.Prefix) *ebpf.Map {
	family := "_v6"
	if p.Addr().Is4() {
		family = "_v4"
	}
	return k.Maps[kind.String()+family]
}

func trieKey(p netip.Prefix) []byte {
	return append(binary.NativeEndian.AppendUint32(nil, uint32(p.Bits())), p.Addr().AsSlice()...)
}

func trieValue(n policy.Node) []byte {
	v := n.Verdict
	fields := []uint32{uint32(v.Drop), uint32(v.Limit), uint32(v.Shadow), v.LimitID, v.HitID, uint32(v.Strict)}
	if n.Kind == policy.Allow {
		fields = []uint32{uint32(v.Allow)}
	}
	var b []byte
	for _, f := range fields {
		b = binary.NativeEndian.AppendUint32(b, f)
	}
	return b
}

// apply applies a delta as the daemon does, in the same order.
func (k *kernel) apply(t *testing.T, w *world, d policy.Delta) {
	t.Helper()
	k.applyAnd(t, d, func() { k.followIndex(t, w, slices.Concat(d.Put, d.Delete)) })
}

// expire removes the expired entries as the daemon does: the index is not told.
func (k *kernel) expire(t *testing.T) {
	t.Helper()
	var ops []policy.Op
	for _, e := range k.book.Expired(bootTime(t), capacity) {
		ops = append(ops, policy.RemoveOp(e.Key()))
	}
	delta, _ := k.book.Apply(ops)
	k.applyAnd(t, delta, func() {})
}

// applyAnd applies a delta to the tries, and calls follow in between if there is an index.
func (k *kernel) applyAnd(t *testing.T, d policy.Delta, follow func()) {
	t.Helper()
	k.limits.put(d.Limits)
	for _, n := range d.Put {
		if err := k.trie(n.Kind, n.Prefix).Put(trieKey(n.Prefix), trieValue(n)); err != nil {
			t.Fatalf("put %s %s: %v", n.Kind, n.Prefix, err)
		}
	}
	if k.indexed {
		follow()
	}
	for _, n := range d.Delete {
		if err := k.trie(n.Kind, n.Prefix).Delete(trieKey(n.Prefix)); err != nil {
			t.Fatalf("delete %s %s: %v", n.Kind, n.Prefix, err)
		}
	}
	k.limits.free(d.FreeLimits)
}

// followIndex patches the index, or rebuilds it where that is needed, and sometimes where it is
// not.
func (k *kernel) followIndex(t *testing.T, w *world, changed []policy.Node) {
	t.Helper()
	anew4, anew6 := k.v4 == nil || w.IntN(20) == 0, k.v6 == nil || w.IntN(20) == 0
	for _, n := range changed {
		if n.Prefix.Addr().Is4() {
			anew4 = anew4 || !k.v4.Update(n.Prefix)
		} else {
			anew6 = anew6 || !k.v6.Update(n.Prefix)
		}
	}
	var err error
	if anew4 {
		alloc, publish := inner.Lines(t, k.spec, k.Maps["index_v4"])
		if k.v4, err = index.BuildV4(k.book, alloc); err != nil {
			t.Fatal(err)
		}
		publish()
	}
	if anew6 {
		alloc, publish := inner.Lines(t, k.spec, k.Maps["index_v6"])
		if k.v6, err = index.BuildV6(k.book, alloc); err != nil {
			t.Fatal(err)
		}
		publish()
	}
}

// reasons returns the packet counters of slot 0, by reason.
func (k *kernel) reasons(t *testing.T) []uint64 {
	t.Helper()
	sums := make([]uint64, reasonsPerSlot)
	for reason := range uint32(reasonsPerSlot) {
		var perCPU []struct{ Packets, Bytes uint64 }
		if err := k.Maps["counters"].Lookup(reason, &perCPU); err != nil {
			t.Fatal(err)
		}
		for _, c := range perCPU {
			sums[reason] += c.Packets
		}
	}
	return sums
}

// checkBook makes a book, checks it at several points in time, and removes it again, all through
// deltas. It returns the number of cases.
func (k *kernel) checkBook(t *testing.T, w *world, sources uint64, seen *tally) (cases uint64) {
	t.Helper()
	book := k.book
	nest := w.nest()
	var entries []policy.Entry
	for range 1 + w.IntN(entriesPerBook) {
		entries = append(entries, w.entry(nest))
	}
	for round := range timesPerBook {
		now := bootTime(t)
		ops := w.changes(entries, round == 0, now)
		delta, _ := book.Apply(ops)
		k.apply(t, w, delta)
		cases += k.checkSources(t, w, book, nest, sources, now, seen)
		if w.IntN(2) == 0 {
			k.expire(t)
		}
	}
	var clear []policy.Op
	for _, e := range all(book) {
		clear = append(clear, policy.RemoveOp(e.Key()))
	}
	delta, _ := book.Apply(clear)
	k.apply(t, w, delta)
	return cases
}

func all(b *policy.Book) []policy.Entry {
	return slices.Concat(slices.Collect(b.Entries(policy.Block)), slices.Collect(b.Entries(policy.Allow)))
}

func (k *kernel) checkSources(t *testing.T, w *world, book *policy.Book, nest []netip.Prefix, sources uint64,
	begin policy.Deadline, seen *tally) (cases uint64) {
	t.Helper()
	entries := all(book)
	before := k.reasons(t)
	var want tally
	for ; cases == 0 || cases < sources && bootTime(t)-begin < policy.Deadline(checkTime); cases++ {
		src := w.source(nest)
		b, src, outcome := w.frame(k, entries, nest, src, bootTime(t))
		want.count(outcome)
		seen.count(outcome)
		action, err := k.program.Run(&ebpf.RunOptions{Data: b})
		if err != nil {
			t.Fatal(err)
		}
		// Before the book may be given up, so that the next one does not find this packet's charge.
		rate := k.limits.used()
		wantAction := uint32(xdpPass)
		if outcome == policy.Blocked {
			wantAction = xdpDrop
		}
		if bootTime(t)-begin > policy.Deadline(margin) {
			t.Log("this machine stalled for longer than the margin of the deadlines: a book was not checked")
			return cases
		}
		if action != wantAction {
			t.Fatalf("source %s: XDP action %d, the model says %s, the index %d\nbook:\n%s", src, action, outcome,
				k.ask(t, src), describe(entries, src))
		}
		// While drops are few, the program asks the tries although the index says drop.
		if says := k.ask(t, src); says == index.Drop && outcome != policy.Blocked ||
			says == index.Clean && outcome != policy.NotListed {
			t.Fatalf("source %s: the index says %d, the model %s\nbook:\n%s", src, says, outcome,
				describe(entries, src))
		}
		wantRate := policy.DecideLimit(entries, src, bootTime(t))
		if outcome != policy.Limited {
			wantRate = policy.Rate{}
		}
		if rate != wantRate {
			t.Fatalf("source %s counts against the rate %v, the model says %v\nbook:\n%s", src, rate, wantRate,
				describe(entries, src))
		}
	}
	after := k.reasons(t)
	const underLimit = 8
	got := tally{after[0] - before[0], after[1] - before[1], after[2] - before[2], after[3] - before[3],
		after[underLimit] - before[underLimit]}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("reasons counted (-model +program):\n%s\nbook:\n%s", diff, describe(entries, netip.Addr{}))
	}
	return cases
}

// ask returns the index's answer, read by the Go package that wrote it.
func (k *kernel) ask(t *testing.T, src netip.Addr) index.Answer {
	now := policy.TickAt(bootTime(t))
	switch {
	case !k.indexed:
		return index.Ask
	case src.Is4():
		return k.v4.Lookup(src, now)
	}
	return k.v6.Lookup(src, now)
}

func describe(entries []policy.Entry, src netip.Addr) string {
	var s string
	for _, e := range entries {
		if !src.IsValid() || e.Prefix.Contains(src) {
			s += fmt.Sprintf("  %s %s %v %s by %s until %d\n", e.Kind, e.Action, e.Rate, e.Prefix, e.Origin, e.Deadline)
		}
	}
	return s
}

func bootTime(t *testing.T) policy.Deadline {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		t.Fatal(err)
	}
	return policy.Deadline(ts.Nano())
}
