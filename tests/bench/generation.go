package main

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/paraxial/paraxial/index"
	"github.com/paraxial/paraxial/loader/banks"
)

// fillIndex puts the book's index, for both families, in front of the tries.
func (t *tables) fillIndex(spec *ebpf.CollectionSpec) error {
	v4 := func(alloc index.Alloc) error { _, err := index.BuildV4(t.book, alloc); return err }
	v6 := func(alloc index.Alloc) error { _, err := index.BuildV6(t.book, alloc); return err }
	return errors.Join(
		publish(shippedMapIndexV4, t.index.Maps[shippedMapIndexV4], spec, v4),
		publish(shippedMapIndexV6, t.index.Maps[shippedMapIndexV6], spec, v6))
}

// publish writes a generation, in memory shared with the kernel, and puts it in force.
func publish(name string, outer *ebpf.Map, spec *ebpf.CollectionSpec, build func(index.Alloc) error) (err error) {
	x, err := banks.Open(name, outer, spec.Maps[name].InnerMap)
	if err != nil {
		return err
	}
	var generation *banks.Generation
	defer func() {
		if generation != nil {
			err = errors.Join(err, generation.Close())
		}
	}()
	alloc := func(lines uint32) (_ []uint64, err error) {
		if generation, err = x.New(lines); err != nil {
			return nil, err
		}
		return generation.Words(), nil
	}
	if err := build(alloc); err != nil {
		return fmt.Errorf("build the index in %s: %w", name, err)
	}
	return x.Publish(generation)
}
