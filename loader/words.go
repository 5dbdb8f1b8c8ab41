package loader

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// words is the memory of a mmapable array of 64-bit values. It is shared with the program,
// which adds to it atomically.
type words struct {
	mem *[]uint64
}

// mapWords maps the elements of m into memory. They stay mapped as long as the result is
// reachable, even if m is closed, so that a reader never faults.
func mapWords(m *ebpf.Map) (words, error) {
	b, err := mapMemory(m)
	if err != nil {
		return words{}, err
	}
	mem := asWords(b)
	w := words{mem: &mem}
	runtime.AddCleanup(w.mem, func(b []byte) { _ = unix.Munmap(b) }, b)
	return w, nil
}

func (w words) len() uint32 { return uint32(len(*w.mem)) }

// load returns element i, or 0 if there is none.
func (w words) load(i uint32) uint64 {
	if i >= w.len() {
		return 0
	}
	v := atomic.LoadUint64(&(*w.mem)[i])
	runtime.KeepAlive(w.mem)
	return v
}

// store sets element i, if there is one.
func (w words) store(i uint32, v uint64) {
	if i >= w.len() {
		return
	}
	atomic.StoreUint64(&(*w.mem)[i], v)
	runtime.KeepAlive(w.mem)
}

// mapMemory maps all elements of a mmapable array into memory.
func mapMemory(m *ebpf.Map) ([]byte, error) {
	size := int(m.MaxEntries()) * int(m.ValueSize())
	b, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the memory of %s: %w", m, err)
	}
	return b, nil
}

// asWords returns page-aligned memory as words.
func asWords(b []byte) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/8)
}
