package index

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/inner"
	"github.com/paraxial/paraxial/tests/testenv"
)

const v6BenchSources = 1 << 20

// v6BenchSpec compiles testdata/bench_v6.c.
func v6BenchSpec(b testing.TB) *ebpf.CollectionSpec {
	b.Helper()
	testenv.Root(b)
	clang, err := exec.LookPath("clang-14")
	if err != nil {
		b.Skip("needs clang-14 to compile a test program")
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		b.Fatal(err)
	}
	object := filepath.Join(b.TempDir(), "bench_v6.o")
	compile := exec.Command(clang, "-target", "bpf", "-g", "-O2", "-Wall", "-Werror", "-mcpu=v3", "-I..",
		"-c", "testdata/bench_v6.c", "-o", object)
	if out, err := compile.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	spec, err := ebpf.LoadCollectionSpec(object)
	if err != nil {
		b.Fatal(err)
	}
	return spec
}

func v6SetSources(b testing.TB, m *ebpf.Map, source func(i int) netip.Addr) {
	b.Helper()
	mem, err := unix.Mmap(m.FD(), 0, v6BenchSources*16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Munmap(mem)
	for i := range v6BenchSources {
		a := source(i).As16()
		copy(mem[i*16:], a[:])
	}
}

// BenchmarkV6Program measures the look-up of the packet program in nanoseconds per packet, over
// a million different sources, with and without the index.
func BenchmarkV6Program(b *testing.B) {
	spec := v6BenchSpec(b)
	var maps struct {
		Sources *ebpf.Map     `ebpf:"sources"`
		Answers *ebpf.Map     `ebpf:"answers"`
		Index   *ebpf.Map     `ebpf:"index_v6"`
		Floor   *ebpf.Program `ebpf:"floor_of_it"`
		Indexed *ebpf.Program `ebpf:"indexed"`
	}
	if err := spec.LoadAndAssign(&maps, nil); err != nil {
		b.Fatalf("%+v", err)
	}
	for _, n := range []int{1000, 100_000, 1_000_000} {
		book, prefixes := v6Big(n, 1)
		alloc, publish := inner.Lines(b, spec, maps.Index)
		start := time.Now()
		if _, err := BuildV6(book, alloc); err != nil {
			b.Fatal(err)
		}
		b.Logf("%d: built in %v", n, time.Since(start))
		publish()
		book = nil
		runtime.GC()
		w := newV6World(9, nil)
		for _, mix := range []string{"clean", "blocked"} {
			v6SetSources(b, maps.Sources, func(int) netip.Addr {
				if mix == "clean" {
					return w.addr()
				}
				return w.inside(prefixes[w.IntN(n)])
			})
			best := func(p *ebpf.Program) float64 {
				least := time.Duration(1 << 62)
				for range 10 {
					_, d, err := p.Benchmark(make([]byte, 64), v6BenchSources, nil)
					if err != nil {
						b.Fatal(err)
					}
					least = min(least, d)
				}
				return float64(least.Nanoseconds())
			}
			b.Run(fmt.Sprintf("%s/%d", mix, n), func(b *testing.B) {
				for b.Loop() {
				}
				least := best(maps.Floor)
				var before, after []struct{ Packets, Bytes uint64 }
				maps.Answers.Lookup(uint32(Ask), &before)
				ns := best(maps.Indexed)
				maps.Answers.Lookup(uint32(Ask), &after)
				b.ReportMetric(least, "floor-ns")
				b.ReportMetric(ns, "ns")
				asks := uint64(0)
				for i := range after {
					asks += after[i].Packets - before[i].Packets
				}
				b.ReportMetric(float64(asks)/10/v6BenchSources*100, "%ask")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
