package banks

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/paraxial/paraxial/tests/testenv"
)

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// kernel is an outer map, which can be opened again as after a crash.
type kernel struct {
	*testing.T
	outer *ebpf.Map
	inner *ebpf.MapSpec
}

func newKernel(t *testing.T) *kernel {
	testenv.Root(t)
	check(t, rlimit.RemoveMemlock())
	const mmapable = 1 << 10 // BPF_F_MMAPABLE
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: lineBytes, MaxEntries: Lines, Flags: mmapable}
	outer, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "banks", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: Elements, InnerMap: inner,
	})
	check(t, err)
	t.Cleanup(func() { check(t, outer.Close()) })
	return &kernel{t, outer, inner}
}

func (k *kernel) open() *Index {
	k.Helper()
	x, err := Open("banks", k.outer, k.inner)
	check(k, err)
	return x
}

// generation returns a generation with its number in every line.
func (k *kernel) generation(x *Index, number uint64, segments uint32) *Generation {
	k.Helper()
	g, err := x.New(segments * Lines)
	check(k, err)
	k.Cleanup(func() { check(k, g.Close()) })
	for line := range segments * Lines {
		g.Words()[line*lineWords] = number<<32 | uint64(line)
	}
	return g
}

// segment opens the map in an element. It stays in memory until the test closes it.
func (k *kernel) segment(element int) *ebpf.Map {
	k.Helper()
	var id uint32
	if err := k.outer.Lookup(uint32(element), &id); errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	} else if err != nil {
		k.Fatal(err)
	}
	m, err := ebpf.NewMapFromID(ebpf.MapID(id))
	check(k, err)
	return m
}

// expect reads the generation in force as the program does. It returns its bank.
func (k *kernel) expect(number uint64, segments int) (bank int) {
	k.Helper()
	header := k.segment(InForce)
	if header == nil {
		k.Fatalf("nothing is in force, want generation %d", number)
	}
	var line [lineWords]uint64
	check(k, header.Lookup(uint32(0), &line))
	check(k, header.Close())
	bank = int(line[bankWord] >> 32)
	for n := range segments {
		m := k.segment(bank + n)
		if m == nil {
			k.Fatalf("element %d is empty", bank+n)
		}
		for _, at := range []uint32{0, 1, Lines - 1} {
			check(k, m.Lookup(at, &line))
			if want := number<<32 | uint64(n*Lines) + uint64(at); line[0] != want {
				k.Errorf("line %d of segment %d: %#x, want %#x", at, n, line[0], want)
			}
		}
		check(k, m.Close())
	}
	return bank
}

// inMemory returns how many of the segments the kernel holds.
func inMemory(tb testing.TB, ids []ebpf.MapID) (n int) {
	tb.Helper()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		check(tb, err)
		check(tb, m.Close())
		n++
	}
	return n
}

func idsOf(tb testing.TB, g *Generation) (ids []ebpf.MapID) {
	tb.Helper()
	for _, m := range g.segments {
		info, err := m.Info()
		check(tb, err)
		id, _ := info.ID()
		ids = append(ids, id)
	}
	return ids
}

// Generations of different sizes replace each other, and the kernel frees the previous one.
func TestPublish(t *testing.T) {
	k := newKernel(t)
	x := k.open()
	var before []ebpf.MapID
	last := -1
	for number, segments := range []uint32{1, 3, 2, 5, 1, 1, 4} {
		g := k.generation(x, uint64(number), segments)
		ids := idsOf(t, g)
		check(t, x.Publish(g))
		bank := k.expect(uint64(number), int(segments))
		if bank == last {
			t.Errorf("generation %d was put into bank %d, which was in force", number, bank)
		}
		check(t, x.Publish(g)) // changes nothing
		last = k.expect(uint64(number), int(segments))
		if last != bank {
			t.Errorf("published again, generation %d went from bank %d to %d", number, bank, last)
		}
		if n := inMemory(t, before); n != 0 {
			t.Errorf("%d segments of the previous generation are still in memory", n)
		}
		before = ids
		check(t, g.Close())
		k.expect(uint64(number), int(segments))
	}
}

func TestWithdraw(t *testing.T) {
	k := newKernel(t)
	x := k.open()
	check(t, x.Withdraw()) // nothing there
	for number := range uint64(3) {
		g := k.generation(x, number, 3)
		ids := idsOf(t, g)
		check(t, x.Publish(g))
		k.expect(number, 3)
		check(t, x.Withdraw())
		check(t, x.Withdraw())
		if id, err := x.InForce(); err != nil || id != 0 {
			t.Errorf("map %d is in force (%v), want none", id, err)
		}
		check(t, g.Close())
		if n := inMemory(t, ids); n > 1 {
			t.Errorf("%d segments are still in memory, want at most the one that fills the elements", n)
		}
	}
}

// A process that ends between any two writes leaves either the previous generation or its
// own in force, complete. The next process can publish its own then.
func TestPublishAfterCrash(t *testing.T) {
	crashes := map[string]func(x *Index, g *Generation) error{
		"before":          func(*Index, *Generation) error { return nil },
		"in the bank":     func(x *Index, g *Generation) error { return Put(x.outer, (1-x.bank)*Bank, g.segments[:2]) },
		"before the swap": func(x *Index, g *Generation) error { return Put(x.outer, (1-x.bank)*Bank, g.segments) },
		"after the swap":  func(x *Index, g *Generation) error { return swapped(x, g) },
		"before the release": func(x *Index, g *Generation) error {
			return errors.Join(swapped(x, g), x.outer.Delete(uint32(x.bank*Bank)))
		},
		"after":            func(x *Index, g *Generation) error { return x.Publish(g) },
		"after withdrawal": func(x *Index, g *Generation) error { return errors.Join(x.Publish(g), x.Withdraw()) },
	}
	for name, crash := range crashes {
		t.Run(name, func(t *testing.T) {
			for first := range uint64(2) { // in either bank
				k := newKernel(t)
				x := k.open()
				for number := range first + 1 {
					check(t, x.Publish(k.generation(x, number, 4)))
				}
				lost := k.generation(x, 10, 3)
				ids := idsOf(t, lost)
				check(t, crash(x, lost))
				check(t, lost.Close())

				next := k.open()
				if id, err := next.InForce(); err != nil {
					t.Fatal(err)
				} else if id == ids[0] {
					k.expect(10, 3)
				} else if id != 0 {
					k.expect(first, 4)
				}
				for number, segments := range []uint32{5, 2, 3} {
					g := k.generation(next, uint64(20+number), segments)
					check(t, next.Publish(g))
					k.expect(uint64(20+number), int(segments))
				}
				if n := inMemory(t, ids); n != 0 {
					t.Errorf("%d segments of the lost generation are still in memory", n)
				}
			}
		})
	}
}

// swapped does the steps of Publish up to the swap.
func swapped(x *Index, g *Generation) error {
	bank := (1 - x.bank) * Bank
	g.setBank(uint32(bank))
	return errors.Join(Put(x.outer, bank, g.segments), x.outer.Put(uint32(InForce), g.segments[0]))
}

// A generation that was replaced cannot be published again: only its first segment is still open.
func TestPublishOnce(t *testing.T) {
	k := newKernel(t)
	x := k.open()
	old, young := k.generation(x, 1, 2), k.generation(x, 2, 2)
	check(t, errors.Join(x.Publish(old), x.Publish(young)))
	if len(old.segments) != 1 {
		t.Errorf("%d segments are open, want the first", len(old.segments))
	}
	if x.Publish(old) == nil {
		t.Error("a replaced generation was published again without an error")
	}
	k.expect(2, 2)
}

func TestNewRefused(t *testing.T) {
	x := newKernel(t).open()
	for _, lines := range []uint32{0, MaxLines + 1} {
		if g, err := x.New(lines); err == nil {
			t.Errorf("%d lines: no error", lines)
			check(t, g.Close())
		}
	}
}
