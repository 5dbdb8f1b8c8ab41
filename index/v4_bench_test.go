package index_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// v4RandomBook has n drops: four of five are hosts, the others from /20 to /31.
func v4RandomBook(r *rand.Rand, n int) *policy.Book {
	book := policy.NewBook(v4Hits)
	ops := make([]policy.Op, 0, n)
	for range n {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], r.Uint32())
		bits := 32
		if r.IntN(5) == 0 {
			bits = 20 + r.IntN(12)
		}
		p, _ := netip.AddrFrom4(b).Prefix(bits)
		ops = append(ops, policy.PutOp(v4Drop(p)))
	}
	book.Apply(ops)
	return book
}

func BenchmarkBuildV4(b *testing.B) {
	for _, n := range []int{0, 100, 100_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			book := v4RandomBook(rand.New(rand.NewPCG(1, 2)), n)
			b.ReportAllocs()
			for b.Loop() {
				used, capacity := buildV4(b, book).Lines()
				b.ReportMetric(float64(used)*64/(1<<20), "MiB-used")
				b.ReportMetric(float64(capacity)*64/(1<<20), "MiB")
			}
		})
	}
}

// BenchmarkUpdateV4 puts or removes a host of a book of a million.
func BenchmarkUpdateV4(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	book := v4RandomBook(r, 1_000_000)
	x := buildV4(b, book)
	var generations int
	for b.Loop() {
		b.StopTimer()
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], r.Uint32())
		p := netip.PrefixFrom(netip.AddrFrom4(a), 32)
		book.Apply([]policy.Op{policy.PutOp(v4Drop(p))})
		b.StartTimer()
		if !x.Update(p) {
			b.StopTimer()
			generations++
			x = buildV4(b, book)
			b.StartTimer()
		}
	}
	b.ReportMetric(float64(generations), "generations")
}

// BenchmarkV4Program measures the index alone. The floor is a program that only parses and
// counts.
func BenchmarkV4Program(b *testing.B) {
	clang, err := exec.LookPath("clang-14")
	if err != nil {
		b.Skip("needs clang-14")
	}
	object := filepath.Join(b.TempDir(), "bench.o")
	out, err := exec.Command(clang, "-O2", "-Wall", "-Werror", "-g", "-target", "bpfel", "-mcpu=v3", "-I..",
		"-c", "testdata/bench_v4.c", "-o", object).CombinedOutput()
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

// setSources gives the bench program a million random sources, which are all listed or all
// unlisted.
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

// measure reports the fastest of a few runs over all sources, in ns per packet.
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
