package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/paraxial/paraxial/track"
)

// build names one of the two builds of the program.
type build string

const (
	plain build = "plain" // frames in one buffer, Linux 5.10
	frags build = "frags" // frames in several buffers, Linux 5.18
)

func specLoaders() map[build]func() (*ebpf.CollectionSpec, error) {
	return map[build]func() (*ebpf.CollectionSpec, error){plain: loadPlain, frags: loadFrags}
}

// loadSpecs reads the embedded objects and sets their constants and the capacities of their maps.
func loadSpecs(maxEntries, tracked uint32, tunnels Tunnels) (map[build]*ebpf.CollectionSpec, error) {
	specs := map[build]*ebpf.CollectionSpec{}
	for b, load := range specLoaders() {
		spec, err := load()
		if err != nil {
			return nil, fmt.Errorf("read the embedded %s program: %w", b, err)
		}
		for _, name := range trieNames() {
			spec.Maps[name].MaxEntries = maxEntries
		}
		spec.Maps[plainMapTracked].InnerMap.MaxEntries = track.Lines(tracked)
		dropUnused(spec)
		if err := tunnels.set(spec); err != nil {
			return nil, err
		}
		setLayout(spec)
		specs[b] = spec
	}
	return specs, nil
}

// dropUnused removes data sections that no instruction refers to. Otherwise the pointers
// that keep types in the BTF would need a map.
func dropUnused(spec *ebpf.CollectionSpec) {
	used := map[string]bool{}
	for _, p := range spec.Programs {
		for _, ins := range p.Instructions {
			used[ins.Reference()] = true
		}
	}
	for name, v := range spec.Variables {
		if !used[v.SectionName] {
			delete(spec.Maps, v.SectionName)
			delete(spec.Variables, name)
		}
	}
}

// instance is the constants by which copies of the program differ.
type instance struct {
	slot  uint32
	probe bool // the copy only answers questions
}

// loadProgram loads a copy of the program over the given maps. Other maps are created and
// live as long as the program.
func loadProgram(spec *ebpf.CollectionSpec, i instance, over mapSet) (*ebpf.Collection, error) {
	spec = spec.Copy()
	v := spec.Variables
	if err := errors.Join(v[plainVarSlot].Set(i.slot), v[plainVarProbe].Set(i.probe)); err != nil {
		return nil, fmt.Errorf("set slot and probe: %w", err)
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: over})
	if err != nil {
		return nil, fmt.Errorf("load program: %w", err)
	}
	return coll, nil
}

// haveFrags tells whether the kernel supports frames in several buffers. The helper and
// the program flag were added in the same release.
func haveFrags() bool {
	return features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen) == nil
}

// loadBuild loads a build for slot over the shared maps.
func (l *Loader) loadBuild(b build, slot uint32) (*ebpf.Program, error) {
	coll, err := loadProgram(l.specs[b], instance{slot: slot}, l.maps)
	if err != nil {
		return nil, err
	}
	defer coll.Close()
	return coll.DetachProgram(plainProgParaxial), nil
}
