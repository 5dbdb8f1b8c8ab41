// Package banks is the kernel memory of the index: generations of equal
// segments, in the slots of an array of maps. There are two banks of slots, of
// which one holds the generation that the packet program reads, so that the other
// can be filled unseen; bpf/types.h and bpf/maps.h describe them.
package banks

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// These are enum index_segments of bpf/types.h.
const (
	Lines   = 8192 // of a segment
	Bank    = 4096 // slots
	InForce = 2 * Bank
	Slots   = InForce + 1
)

const (
	lineBytes = 64
	lineWords = lineBytes / 8
	// MaxLines is the largest generation that a bank holds: 2 GiB.
	MaxLines = Bank * Lines
	// bankWord is where a generation's header has its bank, in the upper half.
	bankWord = 2
)

// Index is the outer map of one family's index. It is not safe for concurrent use.
type Index struct {
	name  string
	outer *ebpf.Map
	inner *ebpf.MapSpec
	// How many slots of each bank are filled: from the first on, but that of
	// the bank not in force has none in the first.
	filled [2]int
	bank   int // in force
	// What is in force, if it was published here.
	generation *Generation
}

// Open reads which bank of an outer map is in force, and makes generations of
// segments like inner.
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

// holds returns the id of the map in a slot, or 0.
func (x *Index) holds(slot int) (ebpf.MapID, error) {
	var id uint32
	err := x.outer.Lookup(uint32(slot), &id)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0, fmt.Errorf("read slot %d of map %s: %w", slot, x.name, err)
	}
	return ebpf.MapID(id), nil
}

// countFilled returns how many slots of the bank from first on are filled, with
// the first, which may be empty.
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

// Publish lets the program decide by g from now on. When it returns, no program
// reads the generation before it any more, which takes some grace periods of the
// kernel, of up to some 40 ms each, and until when it may have to be kept up to
// date. To put in force what is in force changes nothing; what no longer is cannot
// be again. On an error what was published stays in force.
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
	// What these leave behind goes with the next Publish, or with the process.
	_ = errors.Join(x.release(g.segments[0], g.count), g.keepFirst())
	return nil
}

// Withdraw takes away what is in force, so that the program asks the tries about
// every packet. It is no error if there is none.
func (x *Index) Withdraw() error {
	if err := x.empty(InForce); err != nil {
		return fmt.Errorf("take the index out of force: %w", err)
	}
	if x.generation == nil {
		return nil // what an earlier process left is freed by the next Publish
	}
	// What fails here is done by the next Publish.
	_ = x.release(x.generation.segments[0], 1)
	_ = x.empty(x.bank * Bank)
	x.generation = nil
	return nil
}

// release lets the kernel free what no bank needs: all but the first n slots of the
// one in force. Slots can be filled in batches but not emptied, which would wait
// for a grace period each, so they get the first segment of what is in force.
// But the first slot of the other bank is emptied, by which Open tells them apart.
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
			return fmt.Errorf("free slots of map %s: %w", x.name, err)
		}
	}
	return nil
}

func (x *Index) empty(slot int) error {
	if err := x.outer.Delete(uint32(slot)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("empty slot %d of map %s: %w", slot, x.name, err)
	}
	return nil
}

// Put writes maps to an outer map, from slot first on. Every write of its own
// waits until no program uses what was there, a batch waits once; outer maps have
// had batches since Linux 5.19.
func Put(outer *ebpf.Map, first int, inner []*ebpf.Map) error {
	slots, fds := make([]uint32, len(inner)), make([]uint32, len(inner))
	for i, m := range inner {
		slots[i], fds[i] = uint32(first+i), uint32(m.FD())
	}
	if len(slots) > 1 {
		if n, err := outer.BatchUpdate(slots, fds, nil); err == nil && n == len(slots) {
			return nil
		}
	}
	for i, slot := range slots {
		if err := outer.Put(slot, fds[i]); err != nil {
			return fmt.Errorf("slot %d: %w", slot, err)
		}
	}
	return nil
}
