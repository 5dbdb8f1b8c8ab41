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
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/inner"
)

// v6Churn changes entries next to the listed prefixes and the unlisted sources. They cover
// none of these.
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

// unlisted returns an address that no entry ever covers: the last one in the /64 of a listed
// /128, or anywhere.
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

// step makes one change and returns its prefix.
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

// While one CPU looks up, another changes neighbouring entries. No listed source is ever clean,
// and no unlisted one dropped.
func TestV6ConcurrentChanges(t *testing.T) {
	spec := v6BenchSpec(t)
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
	alloc, publish := inner.Lines(t, spec, loaded.Index)
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
	t.Logf("%d changes, %d generations; listed: %v, unlisted: %v (ask, clean, drop)",
		changes, generations, count[:3], count[4:7])
	if count[Clean] != 0 || count[4+Drop] != 0 || count[3] != 0 {
		t.Errorf("wrong: %d listed sources clean, %d unlisted dropped, %d none", count[Clean], count[4+Drop], count[3])
	}
	if count[Drop] == 0 || count[4+Clean] == 0 || generations == 0 {
		t.Error("nothing was tested")
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

// openV6 returns a V6 for look-ups in a generation that another process has written.
func openV6(lines []uint64) *V6 {
	low := func(i int) uint32 { return uint32(lines[i]) }
	high := func(i int) uint32 { return uint32(lines[i] >> 32) }
	secrets := &v6Secrets{
		nh: [4]uint32{low(3), high(3), low(4), high(4)}, salt: lines[5], home: lines[6], second: lines[7],
	}
	hostSlots := low(2) + high(0)/2*v6ShortLines
	shortTags := v6FilterLine + low(0)>>16
	return &V6{
		rules: &v6Rules{}, lines: lines,
		filter: v6Filter{secrets: secrets, wide: lines[v6WideLine*8 : v6FilterLine*8],
			lines: lines[v6FilterLine*8 : shortTags*8]},
		short: v6Table{secrets: secrets, buckets: high(0), tags: lines[shortTags*8:], slots: lines[low(2)*8:]},
		hosts: v6Table{secrets: secrets, buckets: low(1), host: true, tags: lines[high(1)*8:],
			slots: lines[hostSlots*8:]},
	}
}

// A killed writer leaves the answers for all sources that it was not changing.
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
