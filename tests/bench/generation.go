package main

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/index"
)

// fillIndex puts the index of the book, of both families, in front of the tries.
func (t *tables) fillIndex(spec *ebpf.CollectionSpec) error {
	v4 := func(alloc index.Alloc) error { _, err := index.BuildV4(t.book, alloc); return err }
	v6 := func(alloc index.Alloc) error { _, err := index.BuildV6(t.book, alloc); return err }
	return errors.Join(
		publish(t.index.Maps[shippedMapIndexV4], spec.Maps[shippedMapIndexV4].InnerMap, v4),
		publish(t.index.Maps[shippedMapIndexV6], spec.Maps[shippedMapIndexV6].InnerMap, v6))
}

// publish has a generation written, in memory shared with the kernel, and puts it
// into the slot.
func publish(slot *ebpf.Map, lines *ebpf.MapSpec, build func(index.Alloc) error) (err error) {
	var generation *ebpf.Map
	var memory []byte
	defer func() {
		if generation != nil {
			err = errors.Join(err, unix.Munmap(memory), generation.Close())
		}
	}()
	alloc := func(n uint32) ([]uint64, error) {
		spec := lines.Copy()
		spec.MaxEntries = n
		m, err := ebpf.NewMap(spec)
		if err != nil {
			return nil, err
		}
		size := int(n) * int(spec.ValueSize)
		memory, err = unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		generation = m
		return unsafe.Slice((*uint64)(unsafe.Pointer(&memory[0])), size/8), nil
	}
	if err := build(alloc); err != nil {
		return fmt.Errorf("build the index in %s: %w", slot, err)
	}
	if err := slot.Put(uint32(0), generation); err != nil {
		return fmt.Errorf("publish the index in %s: %w", slot, err)
	}
	return nil
}
