package churn

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// private are the maps that the filter writes for the daemon to read. The checker has its own
// copies, so that its look-ups do not appear in the daemon's figures.
var private = []string{checkMapCounters, checkMapAttribution, checkMapEvents, checkMapEventCredit}

// inForce is the program that a link runs, and the checker over the same maps.
type inForce struct {
	program  ebpf.ProgramID
	mapSet   ebpf.MapID // ID of a trie; when it changes, all maps have changed
	attached *ebpf.Program
	checker  *ebpf.Collection
}

// Close closes both.
func (f *inForce) Close() error {
	if f.program == 0 {
		return nil
	}
	f.checker.Close()
	err := f.attached.Close()
	*f = inForce{}
	return err
}

// follow finds out which program the pinned link runs now, and reports whether it has changed.
func (f *inForce) follow(pin string, spec *ebpf.CollectionSpec, own map[string]*ebpf.Map) (changed bool, err error) {
	const tries = 10
	for range tries {
		var id ebpf.ProgramID
		if id, err = linked(pin); err != nil {
			return false, err
		}
		if id == f.program {
			return false, nil
		}
		var now inForce
		now, err = overMapsOf(id, spec, own)
		if err == nil {
			err = f.Close()
			*f = now
			return true, err
		}
		// Already gone: the link has been switched in between.
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, err
}

func linked(pin string) (ebpf.ProgramID, error) {
	l, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return 0, fmt.Errorf("open the link: %w", err)
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil {
		return 0, fmt.Errorf("find the program of the link: %w", err)
	}
	return info.Program, nil
}

// overMapsOf opens an attached program and loads the checker over its maps.
func overMapsOf(id ebpf.ProgramID, spec *ebpf.CollectionSpec, own map[string]*ebpf.Map) (f inForce, err error) {
	f.program = id
	if f.attached, err = ebpf.NewProgramFromID(id); err != nil {
		return f, fmt.Errorf("open program %d: %w", id, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.attached.Close())
		}
	}()
	maps, err := mapsOf(f.attached)
	defer closeAll(maps)
	if err != nil {
		return f, fmt.Errorf("maps of program %d: %w", id, err)
	}
	spec = spec.Copy()
	over, err := replacements(spec, maps, own, private)
	if err != nil {
		return f, fmt.Errorf("program %d: %w", id, err)
	}
	info, err := maps[checkMapBlockV4].Info()
	if err != nil {
		return f, err
	}
	f.mapSet, _ = info.ID()
	if f.checker, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: over}); err != nil {
		return f, fmt.Errorf("load the checker over the maps of program %d: %w", id, err)
	}
	return f, nil
}

// replacements returns the maps to load spec with: own ones, and those of the attached program but
// the ones that are left out, which are made anew.
func replacements(spec *ebpf.CollectionSpec, maps, own map[string]*ebpf.Map, leftOut []string) (map[string]*ebpf.Map,
	error) {
	over := make(map[string]*ebpf.Map)
	for name, s := range spec.Maps {
		switch m := maps[name]; {
		case own[name] != nil:
			over[name] = own[name]
		case slices.Contains(leftOut, name) || strings.HasPrefix(name, "."):
		case m == nil:
			return nil, fmt.Errorf("it has no map %s: it was built from another source", name)
		default:
			over[name], s.MaxEntries = m, m.MaxEntries()
		}
	}
	return over, nil
}

// triesAlone loads the filter over the maps of the attached program, but without an index.
func (f *inForce) triesAlone(own map[string]*ebpf.Map) (*ebpf.Collection, error) {
	spec, err := loadCheck()
	if err != nil {
		return nil, err
	}
	delete(spec.Programs, checkProgCheck)
	maps, err := mapsOf(f.attached)
	defer closeAll(maps)
	if err != nil {
		return nil, err
	}
	over, err := replacements(spec, maps, own, append([]string{checkMapIndexV4, checkMapIndexV6}, private...))
	if err != nil {
		return nil, err
	}
	return ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: over})
}

// mapsOf opens the maps of a program and returns them by name.
func mapsOf(p *ebpf.Program) (map[string]*ebpf.Map, error) {
	maps := make(map[string]*ebpf.Map)
	info, err := p.Info()
	if err != nil {
		return maps, err
	}
	ids, _ := info.MapIDs()
	for _, id := range ids {
		m, err := ebpf.NewMapFromID(id)
		if err != nil {
			return maps, fmt.Errorf("open map %d: %w", id, err)
		}
		info, err := m.Info()
		if err != nil {
			return maps, errors.Join(err, m.Close())
		}
		maps[info.Name] = m
	}
	return maps, nil
}

func closeAll(maps map[string]*ebpf.Map) {
	for _, m := range maps {
		_ = m.Close()
	}
}
