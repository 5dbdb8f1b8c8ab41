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
	segments []*ebpf.Map // once published, only the first
	count    int
	mem      unsafe.Pointer // of all segments, one after the other
	size     uintptr
	lines    uint32
	once     sync.Once
	err      error
}

// New makes memory for a generation, in lines of 64 bytes, zeroed.
func (x *Index) New(lines uint32) (_ *Generation, err error) {
	if lines == 0 || lines > MaxLines {
		return nil, fmt.Errorf("make an index of %d lines for %s: there may be 1 to %d", lines, x.name, MaxLines)
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

// mapMemory reserves addresses and then puts the segments there, one after the
// other, so that lines are found by their number alone.
func (g *Generation) mapMemory(size uintptr) (err error) {
	g.mem, err = unix.MmapPtr(-1, 0, nil, size, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("reserve addresses: %w", err)
	}
	g.size = size
	for i, m := range g.segments {
		at := unsafe.Add(g.mem, i*Lines*lineBytes)
		_, err := unix.MmapPtr(m.FD(), 0, at, Lines*lineBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED)
		if err != nil {
			return fmt.Errorf("map the memory of %s: %w", m, err)
		}
	}
	return nil
}

// Words returns the memory, eight words to a line. It is not Go's: using it after
// Close is a fault.
func (g *Generation) Words() []uint64 {
	return unsafe.Slice((*uint64)(g.mem), int(g.lines)*lineWords)
}

// ID returns what Index.InForce returns while g is in force.
func (g *Generation) ID() (ebpf.MapID, error) {
	info, err := g.segments[0].Info()
	if err != nil {
		return 0, fmt.Errorf("read the id of %s: %w", g.segments[0], err)
	}
	id, ok := info.ID()
	if !ok {
		return 0, fmt.Errorf("read the id of %s: the kernel does not tell", g.segments[0])
	}
	return id, nil
}

// setBank writes where the program finds the other segments. It is not in force.
func (g *Generation) setBank(slot uint32) {
	word := &g.Words()[bankWord]
	atomic.StoreUint64(word, *word&0xffffffff|uint64(slot)<<32)
}

// keepFirst closes the file descriptors of all segments but the first: of a large
// index there are many, and the mapping and the slots hold the memory.
func (g *Generation) keepFirst() error {
	var errs []error
	for _, m := range g.segments[1:] {
		errs = append(errs, m.Close())
	}
	g.segments = g.segments[:1]
	return errors.Join(errs...)
}

// Close gives up the memory. If it is in force, the kernel goes on using it.
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
