package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
)

const (
	genPrefix     = "gen-"
	programPrefix = "prog_"
	nextPrefix    = "next_" // a program to which the link is being switched
)

// generation is a directory with one set of maps and the programs over them.
type generation struct {
	n    int
	path string
}

func (g generation) String() string { return filepath.Base(g.path) }

// pin returns the path of a map.
func (g generation) pin(name string) string { return filepath.Join(g.path, name) }

// program returns the path of the program of iface.
func (g generation) program(iface string) string {
	return filepath.Join(g.path, programPrefix+encodeName(iface))
}

// next returns the path of the new program of iface while its link is being switched.
func (g generation) next(iface string) string {
	return filepath.Join(g.path, nextPrefix+encodeName(iface))
}

// ensure makes the directory and pins the maps that are not pinned in it. The maps may be
// pinned elsewhere too. A repeated call restores missing pins.
func (g generation) ensure(maps mapSet) error {
	if err := os.Mkdir(g.path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make %s: %w", g, err)
	}
	for name, m := range maps {
		if err := pinCopy(m, g.pin(name)); err != nil {
			return fmt.Errorf("pin map %s in %s: %w", name, g, err)
		}
	}
	return nil
}

// pinCopy pins m at path, unless path exists. It pins a clone, because Map.Pin would move
// an earlier pin. Another goroutine may pin the same map at the same time.
func pinCopy(m *ebpf.Map, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	c, err := m.Clone()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Pin(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// holdsAny tells whether one of the programs is pinned in g.
func (g generation) holdsAny(ids map[ebpf.ProgramID]bool) (bool, error) {
	files, err := os.ReadDir(g.path)
	if err != nil {
		return false, err
	}
	for _, f := range files {
		if !isProgramName(f.Name()) {
			continue
		}
		if ours, err := g.owns(f); err != nil {
			return false, err
		} else if !ours {
			continue
		}
		id, err := pinnedProgramID(filepath.Join(g.path, f.Name()))
		if err != nil {
			return false, fmt.Errorf("%s in %s: %w", f.Name(), g, err)
		}
		if ids[id] {
			return true, nil
		}
	}
	return false, nil
}

func pinnedProgramID(path string) (ebpf.ProgramID, error) {
	p, err := ebpf.LoadPinnedProgram(path, nil)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	return programID(p)
}

// remove removes our pins and the directory. If it has a stray, the directory stays. The
// kernel frees the maps that nothing else refers to, and large tries in a worker.
func (g generation) remove() error {
	files, err := readDir(g.path)
	if err != nil {
		return fmt.Errorf("remove %s: %w", g, err)
	}
	for _, f := range files {
		ours, err := g.owns(f)
		if err == nil && ours {
			err = removePin(g.pin(f.Name()))
		}
		if err != nil {
			return fmt.Errorf("remove %s: %w", g, err)
		}
	}
	return removeEmpty(g.path)
}
