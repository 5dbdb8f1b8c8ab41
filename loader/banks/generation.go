package banks

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Generation is the memory of one generation, shared with the kernel.
type Generation struct {
	segments []*ebpf.Map    // only the first once it is published
	count    int            // of all segments
	mem      unsafe.Pointer // all segments, one after the other
	size     uintptr
	lines    uint32
	once     sync.Once
	err      error
}

// New makes zeroed memory for a generation, in lines of 64 bytes.
func (x *Index) New(lines uint32) (_ *Generation, err error) {
	if lines == 0 || lines > MaxLines {
		return nil, fmt.Errorf("make an index of %d lines for %s: want 1 to %d", lines, x.name, MaxLines)
	}
	g := &Generation{lines: lines}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make an index of %d lines, %d KiB, for %s: %w",
				lines, uint64(lines)*lineBytes/1024, x.name, err), g.Close())
		}
	}()
	spec := x.inner.Copy()
	spec.Name = x.name + "_lines"
	n := (lines + Lines - 1) / Lines
	for range n {
		m, err := ebpf.NewMap(spec)
		if err != nil {
			return nil, err
		}
		g.segments = append(g.segments, m)
	}
	g.count = len(g.segments)
	return g, g.mapMemory(uintptr(n) * Lines * lineBytes)
}

// mapMemory reserves a range of addresses and maps the segments into it, one after the
// other, so that the number of a line gives its address.
func (g *Generation) mapMemory(size uintptr) (err error) {
	g.mem, err = unix.MmapPtr(-1, 0, nil, size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("reserve addresses: %w", err)
	}
	g.size = size
	for i, m := range g.segments {
		at := unsafe.Add(g.mem, i*Lines*lineBytes)
		_, err := unix.MmapPtr(
			m.FD(), 0, at, Lines*lineBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED,
		)
		if err != nil {
			return fmt.Errorf("map the memory of %s: %w", m, err)
		}
	}
	return nil
}

// Words returns the memory, eight words to a line. It is not memory of the Go runtime:
// an access after Close is a fault.
func (g *Generation) Words() []uint64 {
	return unsafe.Slice((*uint64)(g.mem), int(g.lines)*lineWords)
}

// ID returns the id that Index.InForce returns while g is in force.
func (g *Generation) ID() (ebpf.MapID, error) {
	info, err := g.segments[0].Info()
	if err != nil {
		return 0, fmt.Errorf("read the id of %s: %w", g.segments[0], err)
	}
	id, ok := info.ID()
	if !ok {
		return 0, fmt.Errorf("read the id of %s: the kernel does not tell it", g.segments[0])
	}
	return id, nil
}

// setBank writes the first element of the bank, where the program finds the other
// segments. g must not be in force.
func (g *Generation) setBank(first uint32) {
	word := &g.Words()[bankWord]
	atomic.StoreUint64(word, *word&0xffffffff|uint64(first)<<32)
}

// keepFirst closes the file descriptors of all segments but the first. A large index has
// many. The mapping and the elements of the outer map keep the memory.
func (g *Generation) keepFirst() error {
	var errs []error
	for _, m := range g.segments[1:] {
		errs = append(errs, m.Close())
	}
	g.segments = g.segments[:1]
	return errors.Join(errs...)
}

// Close releases the memory. If it is in force, the kernel continues to use it.
func (g *Generation) Close() error {
	g.once.Do(func() {
		if g.size > 0 {
			g.err = unix.MunmapPtr(g.mem, g.size)
		}
		for _, m := range g.segments {
			g.err = errors.Join(g.err, m.Close())
		}
	})
	return g.err
}
