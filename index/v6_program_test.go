package index

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/inner"
	"github.com/paraxial/paraxial/tests/testenv"
)

func v6BootTime(tb testing.TB) policy.Deadline {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		tb.Fatal(err)
	}
	return policy.Deadline(now.Nano())
}

// v6Answer is a program that gives the answer of the index alone.
type v6Answer struct {
	v6AnswerObjects
	t    *testing.T
	spec *ebpf.CollectionSpec
}

type v6AnswerObjects struct {
	Index  *ebpf.Map     `ebpf:"index_v6"`
	Answer *ebpf.Program `ebpf:"answer"`
}

func loadV6Answer(t *testing.T) v6Answer {
	t.Helper()
	a := v6Answer{t: t, spec: v6BenchSpec(t)}
	if err := a.spec.LoadAndAssign(&a.v6AnswerObjects, nil); err != nil {
		t.Fatalf("%+v", err)
	}
	return a
}

func (a v6Answer) ask(source netip.Addr) Answer {
	a.t.Helper()
	b := source.As16()
	ret, err := a.Answer.Run(&ebpf.RunOptions{Data: b[:]})
	if err != nil {
		a.t.Fatal(err)
	}
	return Answer(ret)
}

// The program gives the same answers as Lookup.
func TestV6ProgramAnswersAsLookup(t *testing.T) {
	loaded := loadV6Answer(t)
	ask := loaded.ask
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
				e.Deadline += now - v6Now + v6Hour/2 // never equal to now
			}
			book.Apply([]policy.Op{policy.PutOp(e)})
		}
		alloc, publish := inner.Lines(t, loaded.spec, loaded.Index)
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

// The program gives the same answers in tables so full that keys are in their second or third
// bucket, or nowhere, and for keys that only their class tells apart.
func TestV6ProgramInFullTables(t *testing.T) {
	loaded := loadV6Answer(t)
	secrets, err := newV6Secrets()
	if err != nil {
		t.Fatal(err)
	}
	secrets.salt = 0
	alloc, publish := inner.Lines(t, loaded.spec, loaded.Index)
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
			x.filter.add(k)
			x.table(k.class).put(k, untils[w.IntN(len(untils))])
			x.announce(v6Class48)
			x.announce(v6Class56)
			x.announce(v6Class64)
			x.announce(v6Class128)
			sources = append(sources, a, w.inside(netip.PrefixFrom(a, 64)), w.inside(netip.PrefixFrom(a, 48)), w.addr())
		}
		publish()
		for _, src := range sources {
			got := loaded.ask(src)
			if want := x.Lookup(src, policy.TickAt(v6BootTime(t))); got != want {
				t.Fatalf("seed %d: %v: program says %d, Lookup %d", seed, src, got, want)
			}
		}
	}
}

// The program asks the tries about a generation of another version, whatever it holds. The version before
// had a format of 16 bits, and the classes in the upper half.
func TestV6ProgramAsksForOtherFormats(t *testing.T) {
	loaded := loadV6Answer(t)
	book, prefixes := v6Big(100, 7)
	alloc, publish := inner.Lines(t, loaded.spec, loaded.Index)
	x, err := BuildV6(book, alloc)
	if err != nil {
		t.Fatal(err)
	}
	publish()
	source := newV6World(8, nil).inside(prefixes[0])
	present := x.lines[0]
	for word, want := range map[uint64]Answer{
		present:                      Drop,
		present &^ 0xff:              Ask,
		present&^0xff | v6Format + 1: Ask,
		present&^0xffffffff | 2:      Ask,
		present&^0xffffffff | 2 | uint64(x.classes)<<16: Ask,
	} {
		x.lines[0] = word
		if got := loaded.ask(source); got != want {
			t.Errorf("header %#x: %d; want %d", word, got, want)
		}
	}
}

// v6Shipped is the shipped program with its maps.
type v6Shipped struct {
	*ebpf.Collection
	spec *ebpf.CollectionSpec
}

func loadV6Shipped(t *testing.T) *v6Shipped {
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
	return &v6Shipped{c, spec}
}

func (f *v6Shipped) key(p netip.Prefix) []byte {
	return append(binary.NativeEndian.AppendUint32(nil, uint32(p.Bits())), p.Addr().AsSlice()...)
}

func (f *v6Shipped) apply(t *testing.T, delta policy.Delta) {
	t.Helper()
	for _, n := range delta.Put {
		m, value := f.Maps["allow_v6"], []uint32{uint32(n.Verdict.Allow)}
		if n.Kind == policy.Block {
			v := n.Verdict
			m, value = f.Maps["block_v6"], []uint32{uint32(v.Drop), 0, uint32(v.Shadow), 0, 0, uint32(v.Strict)}
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

func (f *v6Shipped) drops(t *testing.T, src netip.Addr) bool {
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

// The shipped program, with index and tries, agrees with the model after each change.
func TestV6ProgramAgainstModel(t *testing.T) {
	f := loadV6Shipped(t)
	for seed := range uint64(6) {
		book := policy.NewBook(1 << 16)
		w := newV6World(seed, v6AllLengths())
		now := v6BootTime(t)
		alloc, publish := inner.Lines(t, f.spec, f.Maps["index_v6"])
		x, err := BuildV6(book, alloc)
		if err != nil {
			t.Fatal(err)
		}
		publish()
		for range 80 {
			e := w.entry()
			if e.Deadline != policy.Forever {
				e.Deadline += now - v6Now + v6Hour/2 // never equal to now
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
