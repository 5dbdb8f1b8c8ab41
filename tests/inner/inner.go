// Package inner creates the inner maps that the daemon puts into the program's maps of maps, for
// tests that load the program without a daemon.
package inner

import (
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/loader/banks"
)

// Lines returns a function that creates the memory of an index generation. Publish puts the last
// one in force and retires the previous one.
func Lines(tb testing.TB, spec *ebpf.CollectionSpec, outer *ebpf.Map) (alloc func(lines uint32) ([]uint64, error),
	publish func()) {
	tb.Helper()
	name := outerName(tb, spec, outer)
	x, err := banks.Open(name, outer, spec.Maps[name].InnerMap)
	if err != nil {
		tb.Fatal(err)
	}
	var made, inForce *banks.Generation
	alloc = func(lines uint32) ([]uint64, error) {
		g, err := x.New(lines)
		if err != nil {
			return nil, err
		}
		tb.Cleanup(func() { g.Close() })
		made = g
		return g.Words(), nil
	}
	publish = func() {
		tb.Helper()
		if err := x.Publish(made); err != nil {
			tb.Fatal(err)
		}
		if inForce != nil && inForce != made {
			inForce.Close()
		}
		inForce = made
	}
	return alloc, publish
}

// outerName finds the name of a map of maps, which the kernel may have truncated.
func outerName(tb testing.TB, spec *ebpf.CollectionSpec, outer *ebpf.Map) string {
	tb.Helper()
	info, err := outer.Info()
	if err != nil {
		tb.Fatal(err)
	}
	if _, ok := spec.Maps[info.Name]; !ok {
		tb.Fatalf("no map %s in the object", info.Name)
	}
	return info.Name
}

// HitSegment creates the first segment of the drop counters and returns its memory.
func HitSegment(tb testing.TB, spec *ebpf.CollectionSpec, hits *ebpf.Map) []uint64 {
	tb.Helper()
	return firstSegment(tb, spec.Maps["hits"].InnerMap, hits)
}

// LimitSegment creates the first segment of the limits and returns its memory, eight words per
// limit.
func LimitSegment(tb testing.TB, spec *ebpf.CollectionSpec, limits *ebpf.Map) []uint64 {
	tb.Helper()
	return firstSegment(tb, spec.Maps["limits"].InnerMap, limits)
}

func firstSegment(tb testing.TB, spec *ebpf.MapSpec, outer *ebpf.Map) []uint64 {
	tb.Helper()
	m, words := mapped(tb, spec)
	if err := outer.Put(uint32(0), m); err != nil {
		tb.Fatal(err)
	}
	return words
}

// mapped creates a map, and maps its memory until the test ends.
func mapped(tb testing.TB, spec *ebpf.MapSpec) (*ebpf.Map, []uint64) {
	tb.Helper()
	m, b := mappedBytes(tb, spec)
	return m, unsafe.Slice((*uint64)(unsafe.Pointer(&b[0])), len(b)/8)
}

func mappedBytes(tb testing.TB, spec *ebpf.MapSpec) (*ebpf.Map, []byte) {
	tb.Helper()
	m, err := ebpf.NewMap(spec)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { m.Close() })
	return m, mapBytes(tb, m)
}

func mapBytes(tb testing.TB, m *ebpf.Map) []byte {
	tb.Helper()
	b, err := unix.Mmap(m.FD(), 0, int(m.MaxEntries()*m.ValueSize()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Munmap(b) })
	return b
}

// Tracking creates the memory for accounting, in its default size. It returns the memory of the
// control and of the lines, and the ring of samples.
func Tracking(tb testing.TB, spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map) (control, lines []byte,
	samples *ringbuf.Reader) {
	tb.Helper()
	m, lines := mappedBytes(tb, spec.Maps["tracked"].InnerMap)
	ring, err := ebpf.NewMap(spec.Maps["samples"].InnerMap)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { ring.Close() })
	for name, m := range map[string]*ebpf.Map{"tracked": m, "samples": ring} {
		if err := maps[name].Put(uint32(0), m); err != nil {
			tb.Fatal(err)
		}
	}
	if samples, err = ringbuf.NewReader(ring); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { samples.Close() })
	return mapBytes(tb, maps["tracking"]), lines, samples
}
