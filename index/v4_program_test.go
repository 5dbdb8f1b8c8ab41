package index_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/index"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/testenv"
)

// v4Kernel is a loaded program and the generation it uses.
type v4Kernel struct {
	tb         testing.TB
	collection *ebpf.Collection
	inner      *ebpf.MapSpec
	mapped     []byte // the generation in force
}

func loadV4(tb testing.TB, object string) *v4Kernel {
	tb.Helper()
	testenv.Root(tb)
	if err := rlimit.RemoveMemlock(); err != nil {
		tb.Fatal(err)
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		tb.Fatal(err)
	}
	for _, trie := range []string{"block_v4", "allow_v4"} {
		if m := spec.Maps[trie]; m != nil {
			m.MaxEntries = 1 << 17
		}
	}
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		tb.Fatalf("%+v", err)
	}
	k := &v4Kernel{tb: tb, collection: collection, inner: spec.Maps["index_v4"].InnerMap}
	tb.Cleanup(func() {
		collection.Close()
		k.unmap(k.mapped)
	})
	return k
}

// v4Object is the program as it is shipped.
func v4Object() string {
	arch := map[string]string{"amd64": "x86", "arm64": "arm64"}[runtime.GOARCH]
	return fmt.Sprintf("../loader/plain_%s_bpfel.o", arch)
}

// generation builds a generation in memory of the kernel and puts it in force.
func (k *v4Kernel) generation(b index.Book) *index.V4 {
	k.tb.Helper()
	var m *ebpf.Map
	var mapped []byte
	x, err := index.BuildV4(b, func(lines uint32) ([]uint64, error) {
		spec := k.inner.Copy()
		spec.MaxEntries = lines
		var err error
		if m, err = ebpf.NewMap(spec); err != nil {
			return nil, err
		}
		page := os.Getpagesize()
		size := (int(lines)*64 + page - 1) / page * page
		if mapped, err = unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
			return nil, err
		}
		return unsafe.Slice((*uint64)(unsafe.Pointer(&mapped[0])), len(mapped)/8), nil
	})
	if err != nil {
		k.tb.Fatal(err)
	}
	defer m.Close()
	if err := k.collection.Maps["index_v4"].Put(uint32(0), m); err != nil {
		k.tb.Fatal(err)
	}
	k.unmap(k.mapped)
	k.mapped = mapped
	return x
}

func (k *v4Kernel) unmap(b []byte) {
	if b == nil {
		return
	}
	if err := unix.Munmap(b); err != nil {
		k.tb.Error(err)
	}
}

// apply makes the changes in the book and in the tries.
func (k *v4Kernel) apply(b *policy.Book, ops ...policy.Op) {
	k.tb.Helper()
	delta, _ := b.Apply(ops)
	for _, n := range delta.Put {
		var value any = uint32(n.Verdict.Allow)
		if n.Kind == policy.Block {
			value = [5]uint32{uint32(n.Verdict.Drop), 0, uint32(n.Verdict.Shadow), 0, n.Verdict.HitID}
		}
		if err := k.trie(n).Put(v4Key(n.Prefix), value); err != nil {
			k.tb.Fatalf("put %s: %v", n.Prefix, err)
		}
	}
	for _, n := range delta.Delete {
		if err := k.trie(n).Delete(v4Key(n.Prefix)); err != nil {
			k.tb.Fatalf("delete %s: %v", n.Prefix, err)
		}
	}
}

func (k *v4Kernel) trie(n policy.Node) *ebpf.Map {
	return k.collection.Maps[n.Kind.String()+"_v4"]
}

func v4Key(p netip.Prefix) []byte {
	return append(binary.NativeEndian.AppendUint32(nil, uint32(p.Bits())), p.Addr().AsSlice()...)
}

// v4Packet is an IPv4 packet from a.
func v4Packet(a netip.Addr) []byte {
	packet := make([]byte, 64)
	packet[12], packet[14] = 0x08, 0x45
	binary.BigEndian.PutUint16(packet[16:], 50)
	copy(packet[26:], a.AsSlice())
	return packet
}

// counted returns how many packets had each outcome of a source.
func (k *v4Kernel) counted() (reasons [4]uint64) {
	k.tb.Helper()
	var perCPU []struct{ Packets, Bytes uint64 }
	for r := range reasons {
		if err := k.collection.Maps["counters"].Lookup(uint32(r), &perCPU); err != nil {
			k.tb.Fatal(err)
		}
		for _, c := range perCPU {
			reasons[r] += c.Packets
		}
	}
	return reasons
}

func v4Now(tb testing.TB) policy.Deadline {
	tb.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		tb.Fatal(err)
	}
	return policy.Deadline(ts.Nano())
}

// TestV4Program holds the shipped program, with index and tries, against
// policy.Decide: the action, and the reason by which it counts.
func TestV4Program(t *testing.T) {
	k := loadV4(t, v4Object())
	w := newV4World(v4Rand(t), 12)
	x := k.generation(w.book)
	// No deadline of the model is near, so time does not matter to the outcome.
	w.now = policy.TickAt(v4Now(t))
	w.apply = func(op policy.Op) { k.apply(w.book, op) }
	w.coarse = true
	before := k.counted()
	var want [4]uint64
	for range 1500 {
		p := w.step(len(w.keys) < 150)
		if !x.Update(p) {
			x = k.generation(w.book)
		}
		all := w.all()
		for range 20 {
			a := w.addr()
			if w.IntN(2) == 0 {
				a = w.in(p)
			}
			outcome := policy.Decide(all, a, v4Now(t))
			action, err := k.collection.Programs["paraxial"].Run(&ebpf.RunOptions{Data: v4Packet(a)})
			if err != nil {
				t.Fatal(err)
			}
			if dropped := action == 1; dropped != (outcome == policy.Blocked) {
				t.Fatalf("%s: action %d, but it is %s; the index says %d", a, action, outcome, x.Lookup(a, w.now))
			}
			want[outcome]++
		}
	}
	got := k.counted()
	for reason := range want {
		if got[reason]-before[reason] != want[reason] {
			t.Errorf("%d packets counted for reason %d, want %d", got[reason]-before[reason], reason, want[reason])
		}
	}
	t.Logf("outcomes: %v", want)
}

// v4Cases is how many look-ups a test does: PARAXIAL_CASES, or else few.
func v4Cases(tb testing.TB, few int) int {
	s := os.Getenv("PARAXIAL_CASES")
	if s == "" {
		return few
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		tb.Fatalf("PARAXIAL_CASES: %v", err)
	}
	return n
}

// v4Host is a host of one of a few /24s: its last byte says what becomes of it.
// A multiple of four is listed all the time, one more never, and the others come
// and go.
func v4Host(r *rand.Rand, class int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(3)), byte(r.IntN(4)*64&0xc0) | byte(r.IntN(16)*4) | byte(class)})
}

func v4Drop(p netip.Prefix) policy.Entry {
	return policy.Entry{Prefix: p, Kind: policy.Block, Action: policy.Drop, Origin: policy.OriginCLI, Deadline: policy.Forever}
}

// v4Listed returns the entries that stay, of which each /24 has so many that it
// has one leaf, a line of more, or a page.
func v4Listed() []policy.Op {
	var ops []policy.Op
	for third, step := range []int{128, 32, 4} {
		for lo := 0; lo < 256; lo += step {
			ops = append(ops, policy.PutOp(v4Drop(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(third), byte(lo)}), 32))))
		}
	}
	return ops
}

// v4Churn makes changes that leave the entries that stay alone, and the hosts
// that are never listed too.
type v4Churn struct {
	*rand.Rand
	put map[policy.Key]bool
}

// v4ChurnLimit is how many entries may be there besides those that stay.
const v4ChurnLimit = 2000

func (c *v4Churn) next() policy.Op {
	if len(c.put) == v4ChurnLimit {
		for k := range c.put {
			delete(c.put, k)
			return policy.RemoveOp(k)
		}
	}
	a := v4Host(c.Rand, 2+c.IntN(2))
	p := netip.PrefixFrom(a, 32)
	switch c.IntN(8) {
	case 0:
		p, _ = a.Prefix(31)
	case 1: // another /24 of the same /16, or another /16
		p = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(c.IntN(3)), byte(3 + c.IntN(253)), byte(c.Uint32())}), 32-c.IntN(9)).Masked()
	}
	e := v4Drop(p)
	if c.put[e.Key()] {
		delete(c.put, e.Key())
		return policy.RemoveOp(e.Key())
	}
	c.put[e.Key()] = true
	if c.IntN(3) == 0 {
		e.Deadline = policy.Deadline(1+c.IntN(1<<20)) << policy.TickShift
	}
	return policy.PutOp(e)
}

// TestV4Concurrent runs the program on one CPU, on sources that are listed all
// the time and on others that never are, while the entries around them change.
func TestV4Concurrent(t *testing.T) {
	k := loadV4(t, v4Object())
	book := policy.NewBook(v4Hits)
	k.apply(book, v4Listed()...)
	x := k.generation(book)
	churn := v4Churn{v4Rand(t), map[policy.Key]bool{}}
	cases := v4Cases(t, 3_000_000)
	seed := churn.Uint64()
	done := make(chan error, 1)
	go func() { done <- k.flood(rand.New(rand.NewPCG(seed, 1)), cases) }()
	updates, generations := 0, 0
	for ; ; updates++ {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d packets, %d updates, %d new generations", cases, updates, generations)
			return
		default:
		}
		op := churn.next()
		p := op.Put.Prefix
		if !op.IsPut() {
			p = op.Remove.Prefix
		}
		k.apply(book, op)
		if !x.Update(p) {
			x = k.generation(book)
			generations++
		}
	}
}

// flood sends packets from listed and unlisted sources in turn, many from one
// and then one from each of many, and returns an error if any is judged wrongly.
func (k *v4Kernel) flood(r *rand.Rand, packets int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// To start and end a repeated run takes the kernel tens of milliseconds.
	const repeat, single = 100_000, 2_000
	listed := v4Listed()
	source := func(outcome policy.Outcome) netip.Addr {
		if outcome == policy.Blocked {
			return listed[r.IntN(len(listed))].Put.Prefix.Addr()
		}
		return v4Host(r, 1)
	}
	for ; packets > 0; packets -= repeat + single {
		outcome := []policy.Outcome{policy.NotListed, policy.Blocked}[r.IntN(2)]
		if err := k.send(source(outcome), outcome, repeat); err != nil {
			return err
		}
		for i := range single {
			outcome := []policy.Outcome{policy.NotListed, policy.Blocked}[i%2]
			if err := k.send(source(outcome), outcome, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// send returns an error unless all of so many packets from a have the outcome. A
// run that a signal interrupts is begun anew, so there may be more of them.
func (k *v4Kernel) send(a netip.Addr, want policy.Outcome, packets uint32) error {
	before := k.counted()
	if _, err := k.collection.Programs["paraxial"].Run(&ebpf.RunOptions{Data: v4Packet(a), Repeat: packets}); err != nil {
		return err
	}
	for reason, after := range k.counted() {
		n := after - before[reason]
		if policy.Outcome(reason) == want && n < uint64(packets) || policy.Outcome(reason) != want && n != 0 {
			return fmt.Errorf("%s: %d of %d packets were counted as %s; all should be %s", a, n, packets, policy.Outcome(reason), want)
		}
	}
	return nil
}

// BenchmarkV4Program measures the index by itself. The floor is a program that
// parses and counts.
func BenchmarkV4Program(b *testing.B) {
	clang, err := exec.LookPath("clang-14")
	if err != nil {
		b.Skip("needs clang-14")
	}
	object := filepath.Join(b.TempDir(), "bench.o")
	out, err := exec.Command(clang, "-O2", "-Wall", "-Werror", "-g", "-target", "bpfel", "-mcpu=v2", "-I..", "-c", "testdata/bench_v4.c", "-o", object).CombinedOutput()
	if err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	k := loadV4(b, object)
	for _, n := range []int{0, 1000, 100_000, 1_000_000} {
		book := v4RandomBook(rand.New(rand.NewPCG(1, 2)), n)
		k.generation(book)
		for _, traffic := range []string{"clean", "blocked"} {
			if n == 0 && traffic == "blocked" {
				continue
			}
			k.setSources(book, traffic == "blocked")
			for _, program := range []string{"parse_and_count", "index_alone"} {
				b.Run(fmt.Sprintf("%d/%s/%s", n, traffic, program), func(b *testing.B) { k.measure(b, program) })
			}
		}
	}
}

// setSources fills the bench program's sources with a million random ones that
// are all listed or all not.
func (k *v4Kernel) setSources(book *policy.Book, listed bool) {
	const n = 1 << 20
	r := rand.New(rand.NewPCG(3, 4))
	var prefixes []netip.Prefix
	if listed {
		for e := range book.Nodes(policy.Block) {
			prefixes = append(prefixes, e.Prefix)
		}
	}
	keys, values := make([]uint32, n), make([][4]byte, 0, n)
	for len(values) < n {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], r.Uint32())
		if listed {
			b = (&v4World{Rand: r}).in(prefixes[r.IntN(len(prefixes))]).As4()
		} else if len(book.Matching(netip.AddrFrom4(b), 0)) > 0 {
			continue
		}
		keys[len(values)] = uint32(len(values))
		values = append(values, b)
	}
	if _, err := k.collection.Maps["sources"].BatchUpdate(keys, values, nil); err != nil {
		k.tb.Fatal(err)
	}
}

// measure reports the best of a few runs over all sources, in ns per packet.
func (k *v4Kernel) measure(b *testing.B, program string) {
	best := time.Hour
	packet := v4Packet(netip.MustParseAddr("0.0.0.0"))
	for range 12 {
		_, d, err := k.collection.Programs[program].Benchmark(packet, 1<<20, nil)
		if err != nil {
			b.Fatal(err)
		}
		best = min(best, d)
	}
	b.ReportMetric(float64(best), "ns/packet")
}
