package index

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/testenv"
)

func v6BootTime(tb testing.TB) policy.Deadline {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		tb.Fatal(err)
	}
	return policy.Deadline(now.Nano())
}

// The program reads the layout as Lookup does.
func TestV6ProgramAnswersAsLookup(t *testing.T) {
	spec := v6BenchSpec(t)
	inner := spec.Maps["index_v6"].InnerMap
	var loaded struct {
		Index  *ebpf.Map     `ebpf:"index_v6"`
		Answer *ebpf.Program `ebpf:"answer"`
	}
	if err := spec.LoadAndAssign(&loaded, nil); err != nil {
		t.Fatalf("%+v", err)
	}
	ask := func(a netip.Addr) Answer {
		b := a.As16()
		ret, err := loaded.Answer.Run(&ebpf.RunOptions{Data: b[:]})
		if err != nil {
			t.Fatal(err)
		}
		return Answer(ret)
	}
	w := newV6World(1, nil)
	if got := ask(w.addr()); got != Ask {
		t.Errorf("without a generation: %d; want ask", got)
	}
	seen := map[Answer]int{}
	for seed := range uint64(12) {
		w := newV6World(seed, v6AllLengths())
		book := policy.NewBook(1 << 20)
		if seed%3 == 0 {
			book, _ = v6Big(20_000, seed)
		}
		now := v6BootTime(t)
		for range 200 {
			e := w.entry()
			if e.Deadline != policy.Forever {
				e.Deadline += now - v6Now + v6Hour/2 // never at the very moment
			}
			book.Apply([]policy.Op{policy.PutOp(e)})
		}
		alloc, publish := v6Kernel(t, loaded.Index, inner)
		x, err := BuildV6(book, alloc)
		if err != nil {
			t.Fatal(err)
		}
		publish()
		for _, src := range w.sources(v6Entries(book), 4000) {
			want := x.Lookup(src, policy.TickAt(now))
			if got := ask(src); got != want {
				t.Fatalf("seed %d: %v: program says %d, Lookup %d", seed, src, got, want)
			}
			seen[want]++
		}
	}
	t.Logf("answers: %v", seen)
	if len(seen) != 3 {
		t.Errorf("answers seen: %v; want all three", seen)
	}
}

// The program finds its way in tables so full that keys stand in their second and
// third bucket or nowhere, and tells classes apart where the hash does not.
func TestV6ProgramInFullTables(t *testing.T) {
	spec := v6BenchSpec(t)
	var loaded struct {
		Index  *ebpf.Map     `ebpf:"index_v6"`
		Answer *ebpf.Program `ebpf:"answer"`
	}
	inner := spec.Maps["index_v6"].InnerMap
	if err := spec.LoadAndAssign(&loaded, nil); err != nil {
		t.Fatalf("%+v", err)
	}
	secrets, err := newV6Secrets()
	if err != nil {
		t.Fatal(err)
	}
	secrets.salt = 0
	alloc, publish := v6Kernel(t, loaded.Index, inner)
	for seed := range uint64(8) {
		x := &V6{rules: &v6Rules{}}
		if err := x.layOut(alloc, secrets, 0, 0); err != nil {
			t.Fatal(err)
		}
		w := newV6World(seed, []int{16, 32, 48, 56, 64, 128})
		// Expired, forever, listed only, allowed.
		untils := []v6Until{2, v6Until(policy.TickForever), v6Until(policy.TickForever), v6Listed, v6Allow}
		var sources []netip.Addr
		for range 150 {
			a := v6Class48.prefix(w.addr()).Addr()
			k := v6KeyOf(a, []v6Class{v6Class48, v6Class56, v6Class64, v6Class128}[w.IntN(4)])
			x.short.limit, x.hosts.limit = 1000, 1000
			x.table(k.class).put(k, untils[w.IntN(len(untils))])
			x.announce(v6Class48)
			x.announce(v6Class56)
			x.announce(v6Class64)
			x.announce(v6Class128)
			sources = append(sources, a, w.inside(netip.PrefixFrom(a, 64)), w.inside(netip.PrefixFrom(a, 48)), w.addr())
		}
		publish()
		for _, src := range sources {
			b := src.As16()
			got, err := loaded.Answer.Run(&ebpf.RunOptions{Data: b[:]})
			if err != nil {
				t.Fatal(err)
			}
			if want := x.Lookup(src, policy.TickAt(v6BootTime(t))); Answer(got) != want {
				t.Fatalf("seed %d: %v: program says %d, Lookup %d", seed, src, got, want)
			}
		}
	}
}

// v6Filter is the shipped program with its maps.
type v6Filter struct {
	*ebpf.Collection
	inner *ebpf.MapSpec
}

func loadV6Filter(t *testing.T) *v6Filter {
	t.Helper()
	testenv.Root(t)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	arch := map[string]string{"amd64": "x86", "arm64": "arm64"}[runtime.GOARCH]
	spec, err := ebpf.LoadCollectionSpec(fmt.Sprintf("../loader/plain_%s_bpfel.o", arch))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(c.Close)
	return &v6Filter{c, spec.Maps["index_v6"].InnerMap}
}

func (f *v6Filter) key(p netip.Prefix) []byte {
	return append(binary.NativeEndian.AppendUint32(nil, uint32(p.Bits())), p.Addr().AsSlice()...)
}

func (f *v6Filter) apply(t *testing.T, delta policy.Delta) {
	t.Helper()
	for _, n := range delta.Put {
		m, value := f.Maps["allow_v6"], []uint32{uint32(n.Verdict.Allow)}
		if n.Kind == policy.Block {
			m, value = f.Maps["block_v6"], []uint32{uint32(n.Verdict.Drop), 0, uint32(n.Verdict.Shadow), 0, 0}
		}
		if err := m.Put(f.key(n.Prefix), value); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range delta.Delete {
		m := f.Maps["allow_v6"]
		if n.Kind == policy.Block {
			m = f.Maps["block_v6"]
		}
		if err := m.Delete(f.key(n.Prefix)); err != nil {
			t.Fatal(err)
		}
	}
}

func (f *v6Filter) drops(t *testing.T, src netip.Addr) bool {
	t.Helper()
	frame := make([]byte, 14+40)
	frame[12], frame[13] = 0x86, 0xdd
	frame[14], frame[20] = 0x60, 59 // no next header
	copy(frame[22:], src.AsSlice())
	ret, err := f.Programs["paraxial"].Run(&ebpf.RunOptions{Data: frame})
	if err != nil {
		t.Fatal(err)
	}
	return ret == 1
}

// The shipped program, index before tries, does what the model says, after each
// change.
func TestV6ProgramAgainstModel(t *testing.T) {
	f := loadV6Filter(t)
	for seed := range uint64(6) {
		book := policy.NewBook(1 << 16)
		w := newV6World(seed, v6AllLengths())
		now := v6BootTime(t)
		alloc, publish := v6Kernel(t, f.Maps["index_v6"], f.inner)
		x, err := BuildV6(book, alloc)
		if err != nil {
			t.Fatal(err)
		}
		publish()
		for range 80 {
			e := w.entry()
			if e.Deadline != policy.Forever {
				e.Deadline += now - v6Now + v6Hour/2 // never at the very moment
			}
			op := policy.PutOp(e)
			if all := v6Entries(book); len(all) > 0 && w.IntN(4) == 0 {
				e = all[w.IntN(len(all))]
				op = policy.RemoveOp(e.Key())
			}
			delta, _ := book.Apply([]policy.Op{op})
			f.apply(t, delta)
			if !x.Update(e.Prefix) {
				if x, err = BuildV6(book, alloc); err != nil {
					t.Fatal(err)
				}
				publish()
			}
			entries := v6Entries(book)
			for _, src := range w.sources(entries, 30) {
				want := policy.Decide(entries, src, now)
				if got := f.drops(t, src); got != (want == policy.Blocked) {
					t.Fatalf("%v: dropped: %v, model: %v", src, got, want)
				}
			}
		}
		var ops []policy.Op
		for _, e := range v6Entries(book) {
			ops = append(ops, policy.RemoveOp(e.Key()))
		}
		delta, _ := book.Apply(ops)
		f.apply(t, delta)
	}
}

// v6Churn changes entries that cover none of the listed prefixes nor any of the
// unlisted sources, but stand next to them.
type v6Churn struct {
	*v6World
	book   *policy.Book
	listed []netip.Prefix
	mine   []policy.Entry
}

func newV6Churn(seed uint64) *v6Churn {
	book, listed := v6Big(2000, seed)
	return &v6Churn{v6World: newV6World(seed+1, nil), book: book, listed: listed}
}

// unlisted returns an address that no entry ever covers: the last in the /64 of a
// listed /128, or anywhere.
func (c *v6Churn) unlisted() netip.Addr {
	for {
		p := c.listed[c.IntN(len(c.listed))]
		if p.Bits() != 128 {
			continue
		}
		b := p.Addr().As16()
		copy(b[8:], "\xff\xff\xff\xff\xff\xff\xff\xff")
		return netip.AddrFrom16(b)
	}
}

// step makes one change and returns the prefix it is of.
func (c *v6Churn) step() netip.Prefix {
	if len(c.mine) > 500 || len(c.mine) > 0 && c.IntN(2) == 0 {
		i := c.IntN(len(c.mine))
		e := c.mine[i]
		if c.IntN(3) == 0 { // renew
			e.Deadline = policy.Forever
			c.book.Apply([]policy.Op{policy.PutOp(e)})
			return e.Prefix
		}
		c.book.Apply([]policy.Op{policy.RemoveOp(e.Key())})
		c.mine[i] = c.mine[len(c.mine)-1]
		c.mine = c.mine[:len(c.mine)-1]
		return e.Prefix
	}
	b := c.listed[c.IntN(len(c.listed))].Addr().As16()
	bits := 128
	switch c.IntN(4) {
	case 0, 1: // a host of the same /64
		binary.BigEndian.PutUint64(b[8:], c.Uint64()>>1)
	case 2: // a few hosts
		bits = 121
		binary.BigEndian.PutUint64(b[8:], c.Uint64()>>1)
	case 3: // a /64 beside it
		bits = 64
		b[7] ^= byte(1 + c.IntN(255))
	}
	p := netip.PrefixFrom(netip.AddrFrom16(b), bits).Masked()
	e := policy.Entry{Prefix: p, Kind: policy.Block, Action: policy.Drop, Origin: "feed:churn", Deadline: v6Now}
	c.book.Apply([]policy.Op{policy.PutOp(e)})
	c.mine = append(c.mine, e)
	return p
}

// While one CPU looks up, another changes what stands beside: no listed source is
// ever clean, no unlisted one dropped.
func TestV6ConcurrentChanges(t *testing.T) {
	spec := v6BenchSpec(t)
	inner := spec.Maps["index_v6"].InnerMap
	var loaded struct {
		Index   *ebpf.Map     `ebpf:"index_v6"`
		Sources *ebpf.Map     `ebpf:"sources"`
		Answers *ebpf.Map     `ebpf:"answers"`
		Watch   *ebpf.Program `ebpf:"watch"`
	}
	if err := spec.LoadAndAssign(&loaded, nil); err != nil {
		t.Fatalf("%+v", err)
	}
	c := newV6Churn(11)
	v6SetSources(t, loaded.Sources, func(i int) netip.Addr {
		if i%2 == 0 {
			return c.inside(c.listed[c.IntN(len(c.listed))])
		}
		return c.unlisted()
	})
	alloc, publish := v6Kernel(t, loaded.Index, inner)
	x, err := BuildV6(c.book, alloc)
	if err != nil {
		t.Fatal(err)
	}
	publish()

	lookups := v6Cases(10_000_000)
	var done atomic.Bool
	finished := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer done.Store(true)
		var err error
		for n := 0; n < lookups && err == nil; n += v6BenchSources {
			_, _, err = loaded.Watch.Benchmark(make([]byte, 64), v6BenchSources, nil)
		}
		finished <- err
	}()
	changes, generations := 0, 0
	for !done.Load() {
		changes++
		if x.Update(c.step()) && changes%5000 != 0 {
			continue
		}
		if x, err = BuildV6(c.book, alloc); err != nil {
			t.Fatal(err)
		}
		publish()
		generations++
	}
	if err := <-finished; err != nil {
		t.Fatal(err)
	}
	count := make([]uint64, 8)
	for i := range count {
		var perCPU []struct{ Packets, Bytes uint64 }
		if err := loaded.Answers.Lookup(uint32(i), &perCPU); err != nil {
			t.Fatal(err)
		}
		for _, v := range perCPU {
			count[i] += v.Packets
		}
	}
	t.Logf("%d changes, %d generations; listed: %v, unlisted: %v (ask, clean, drop)", changes, generations, count[:3], count[4:7])
	if count[Clean] != 0 || count[4+Drop] != 0 || count[3] != 0 {
		t.Errorf("wrong: %d listed sources clean, %d unlisted dropped, %d none", count[Clean], count[4+Drop], count[3])
	}
	if count[Drop] == 0 || count[4+Clean] == 0 || generations == 0 {
		t.Error("nothing tested")
	}
}

const v6KillFile = "PARAXIAL_TEST_V6_FILE"

func v6MapFile(tb testing.TB, name string, lines uint32) []uint64 {
	tb.Helper()
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if lines == 0 {
		info, err := f.Stat()
		if err != nil {
			tb.Fatal(err)
		}
		lines = uint32(info.Size() / 64)
	} else if err := f.Truncate(int64(lines) * 64); err != nil {
		tb.Fatal(err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(lines)*64, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Munmap(mem) })
	return unsafe.Slice((*uint64)(unsafe.Pointer(&mem[0])), lines*v6LineWords)
}

// openV6 returns a V6 to look up in a generation that somebody else has written.
func openV6(lines []uint64) *V6 {
	low := func(i int) uint32 { return uint32(lines[i]) }
	high := func(i int) uint32 { return uint32(lines[i] >> 32) }
	secrets := &v6Secrets{nh: [4]uint32{low(3), high(3), low(4), high(4)}, salt: lines[5], home: lines[6], second: lines[7]}
	return &V6{
		rules: &v6Rules{}, lines: lines,
		short: v6Table{secrets: secrets, buckets: high(0), tags: lines[8:], slots: lines[low(2)*8:]},
		hosts: v6Table{secrets: secrets, buckets: low(1), host: true, tags: lines[high(1)*8:], slots: lines[high(2)*8:]},
	}
}

// A writer that is killed leaves every source that it was not about to change as
// it was.
func TestV6Killed(t *testing.T) {
	if name := os.Getenv(v6KillFile); name != "" {
		c := newV6Churn(21)
		x, err := BuildV6(c.book, func(lines uint32) ([]uint64, error) { return v6MapFile(t, name, lines), nil })
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("ready\n")
		for {
			if p := c.step(); !x.Update(p) {
				select {} // full: wait for the end
			}
		}
	}
	for i := range 6 {
		name := fmt.Sprintf("%s/%d", t.TempDir(), i)
		child := exec.Command(os.Args[0], "-test.run=^TestV6Killed$")
		child.Env = append(os.Environ(), v6KillFile+"="+name)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(100*(i+1)) * time.Microsecond)
		child.Process.Kill()
		child.Wait()
		x, c := openV6(v6MapFile(t, name, 0)), newV6Churn(21)
		drops := 0
		for _, p := range c.listed {
			switch x.Lookup(c.inside(p), 1) {
			case Clean:
				t.Fatalf("%v: clean", p)
			case Drop:
				drops++
			}
			if src := c.unlisted(); x.Lookup(src, 1) == Drop {
				t.Fatalf("%v: dropped", src)
			}
		}
		if drops < len(c.listed)*9/10 {
			t.Errorf("only %d of %d listed prefixes drop", drops, len(c.listed))
		}
	}
}
