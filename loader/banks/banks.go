// Package banks manages the kernel memory of the index: generations of segments of
// equal size, which are elements of an array of maps. The elements form two banks. One
// bank holds the generation that the packet program reads, so that the other can be
// filled before the program sees it. bpf/types.h and bpf/maps.h describe them.
package banks

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// These are enum index_segments of bpf/types.h.
const (
	Lines    = 8192     // of a segment
	Bank     = 4096     // elements of a bank
	InForce  = 2 * Bank // the element that puts a generation in force
	Elements = InForce + 1
)

const (
	lineBytes = 64
	lineWords = lineBytes / 8
	// MaxLines is the largest generation that a bank holds: 2 GiB.
	MaxLines = Bank * Lines
	// bankWord is the word of a header that has the bank in its upper half.
	bankWord = 2
)

// Index is the outer map of the index of one family. It is not safe for concurrent use.
type Index struct {
	name  string
	outer *ebpf.Map
	inner *ebpf.MapSpec
	// filled is the number of elements of each bank that are filled. They follow
	// each other from the first on. In the bank that is not in force, the first
	// itself is empty.
	filled [2]int
	bank   int // in force
	// generation is in force. It is nil if an earlier process published it.
	generation *Generation
}

// Open reads which bank of an outer map is in force. New makes segments like inner.
func Open(name string, outer *ebpf.Map, inner *ebpf.MapSpec) (*Index, error) {
	x := &Index{name: name, outer: outer, inner: inner, bank: 1}
	inForce, err := x.holds(InForce)
	if err != nil {
		return nil, err
	}
	for bank := range x.filled {
		if x.filled[bank], err = x.countFilled(bank * Bank); err != nil {
			return nil, err
		}
		first, err := x.holds(bank * Bank)
		if err != nil {
			return nil, err
		}
		if first != 0 && first == inForce {
			x.bank = bank
		}
	}
	return x, nil
}

// holds returns the id of the map in an element, or 0.
func (x *Index) holds(element int) (ebpf.MapID, error) {
	var id uint32
	err := x.outer.Lookup(uint32(element), &id)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0, fmt.Errorf("read element %d of map %s: %w", element, x.name, err)
	}
	return ebpf.MapID(id), nil
}

// countFilled returns how many elements are filled of the bank that begins with first.
// It counts the first, which may be empty.
func (x *Index) countFilled(first int) (int, error) {
	for n := 1; n < Bank; n++ {
		id, err := x.holds(first + n)
		if id == 0 {
			return n, err
		}
	}
	return Bank, nil
}

// InForce returns the id of the first segment of the generation in force, or 0.
func (x *Index) InForce() (ebpf.MapID, error) { return x.holds(InForce) }

// Publish puts g in force. It waits for some grace periods of the kernel, of up to
// about 40 ms each. When it returns, no program reads the previous generation any more;
// until then that may have to be kept up to date. Publishing the generation that is in
// force changes nothing. A generation that was replaced cannot be published again. After
// an error the previous generation stays in force.
func (x *Index) Publish(g *Generation) error {
	if g == x.generation {
		return nil
	}
	if len(g.segments) < g.count {
		return fmt.Errorf("publish an index in map %s: it was published before", x.name)
	}
	bank := 1 - x.bank
	g.setBank(uint32(bank * Bank))
	x.filled[bank] = max(x.filled[bank], len(g.segments))
	if err := Put(x.outer, bank*Bank, g.segments); err != nil {
		return fmt.Errorf("put an index into map %s: %w", x.name, err)
	}
	if err := x.outer.Put(uint32(InForce), g.segments[0]); err != nil {
		return fmt.Errorf("publish an index in map %s: %w", x.name, err)
	}
	x.generation, x.bank = g, bank
	// If one of these fails, the next Publish or the end of the process frees the rest.
	_ = errors.Join(x.release(g.segments[0], g.count), g.keepFirst())
	return nil
}

// Withdraw takes the generation out of force, so that the program asks the tries about
// every packet. It is not an error if there is none.
func (x *Index) Withdraw() error {
	if err := x.empty(InForce); err != nil {
		return fmt.Errorf("take the index out of force: %w", err)
	}
	if x.generation == nil {
		return nil // the next Publish frees the segments of an earlier process
	}
	// If one of these fails, the next Publish does it.
	_ = x.release(x.generation.segments[0], 1)
	_ = x.empty(x.bank * Bank)
	x.generation = nil
	return nil
}

// release lets the kernel free the segments that are not needed: all but the first n of
// the bank in force. Elements can be filled in batches, but not emptied in batches, and
// emptying one waits for a grace period. So they are filled with the first segment of
// the generation in force. Only the first element of the other bank is emptied, by which
// Open tells the banks apart.
func (x *Index) release(first *ebpf.Map, n int) error {
	other := 1 - x.bank
	if err := x.empty(other * Bank); err != nil {
		return err
	}
	for _, unused := range []struct{ from, to int }{
		{x.bank*Bank + n, x.bank*Bank + x.filled[x.bank]},
		{other*Bank + 1, other*Bank + x.filled[other]},
	} {
		if unused.from >= unused.to {
			continue
		}
		same := make([]*ebpf.Map, unused.to-unused.from)
		for i := range same {
			same[i] = first
		}
		if err := Put(x.outer, unused.from, same); err != nil {
			return fmt.Errorf("free elements of map %s: %w", x.name, err)
		}
	}
	return nil
}

func (x *Index) empty(element int) error {
	if err := x.outer.Delete(uint32(element)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("empty element %d of map %s: %w", element, x.name, err)
	}
	return nil
}

// Put writes maps to an outer map, from element first on. A single write waits until no
// program uses the previous map, a batch waits once for all. Outer maps have batches
// since Linux 5.19.
func Put(outer *ebpf.Map, first int, inner []*ebpf.Map) error {
	keys, fds := make([]uint32, len(inner)), make([]uint32, len(inner))
	for i, m := range inner {
		keys[i], fds[i] = uint32(first+i), uint32(m.FD())
	}
	if len(keys) > 1 {
		if n, err := outer.BatchUpdate(keys, fds, nil); err == nil && n == len(keys) {
			return nil
		}
	}
	for i, key := range keys {
		if err := outer.Put(key, fds[i]); err != nil {
			return fmt.Errorf("element %d: %w", key, err)
		}
	}
	return nil
}
