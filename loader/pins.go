package loader

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/paraxial/paraxial/lockfile"
	"golang.org/x/sys/unix"
)

// linksDir is the directory of the pinned links, inside the directory of all pins.
const linksDir = "links"

// lockTimeout gives a daemon that is just exiting the time to finish.
const lockTimeout = time.Second

// pinDir is the directory of all pins. While it is locked, only this process uses it.
type pinDir struct {
	path string
	lock *os.File
}

// openPinDir makes dir on a mounted BPF file system.
func openPinDir(dir string) (pinDir, error) {
	dir = filepath.Clean(dir)
	if strings.Contains(filepath.Base(dir), ".") {
		return pinDir{}, fmt.Errorf("directory for pins %s: a BPF file system allows no dots in names", dir)
	}
	p := pinDir{path: dir}
	if err := p.check(); err != nil {
		return pinDir{}, err
	}
	if err := p.ensure(); err != nil {
		return pinDir{}, errors.Join(err, p.unlock())
	}
	return p, nil
}

// check returns an error unless the directory is, or would be, on a BPF file system.
func (p pinDir) check() error {
	on := p.path
	if _, err := os.Stat(on); errors.Is(err, fs.ErrNotExist) {
		on = filepath.Dir(on)
	}
	return onBPFFS(on)
}

// ensure makes the directories that are missing, and takes the lock.
func (p *pinDir) ensure() error {
	if err := makeDir(p.path); err != nil {
		return err
	}
	if err := p.take(); err != nil {
		return err
	}
	return makeDir(filepath.Join(p.path, linksDir))
}

func makeDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the directory for pins: %w", err)
	}
	return nil
}

// take takes the lock of the directory unless it is held already. Without it two daemons
// could undo the changes of each other. A directory that was removed and made again needs a
// new lock.
func (p *pinDir) take() error {
	if p.lock != nil {
		held, err := p.lock.Stat()
		if err != nil {
			return err
		}
		if now, err := os.Stat(p.path); err == nil && os.SameFile(held, now) {
			return nil
		}
	}
	f, err := os.Open(p.path)
	if err != nil {
		return fmt.Errorf("lock the directory for pins: %w", err)
	}
	if err := lockfile.Take(f, lockTimeout); err != nil {
		if held, ok := errors.AsType[*lockfile.HeldError](err); ok {
			err = fmt.Errorf("%s is in use: %s keeps its pins there; use that one, stop it first, "+
				"or choose another directory with --bpffs", p.path, held.Holder())
		}
		return errors.Join(err, f.Close())
	}
	old := p.lock
	p.lock = f
	if old != nil {
		return old.Close()
	}
	return nil
}

// unlock releases the lock.
func (p *pinDir) unlock() error {
	if p.lock == nil {
		return nil
	}
	err := p.lock.Close()
	p.lock = nil
	return err
}

func onBPFFS(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("directory for pins %s: %w", dir, err)
	}
	if int64(st.Type) != unix.BPF_FS_MAGIC {
		return fmt.Errorf("directory for pins: %s is %w", dir, ErrNoBPFFS)
	}
	return nil
}

func (p pinDir) link(iface string) string {
	return filepath.Join(p.path, linksDir, encodeName(iface))
}

// interfaces returns the names of the pinned links, sorted.
func (p pinDir) interfaces() ([]string, error) {
	files, err := os.ReadDir(filepath.Join(p.path, linksDir))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		if name, ok := decodeName(f.Name()); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (p pinDir) generation(n int) generation {
	return generation{n: n, path: filepath.Join(p.path, genPrefix+strconv.Itoa(n))}
}

// generations returns all generations, oldest first.
func (p pinDir) generations() ([]generation, error) {
	files, err := os.ReadDir(p.path)
	if err != nil {
		return nil, err
	}
	var gens []generation
	for _, f := range files {
		if s, ok := strings.CutPrefix(f.Name(), genPrefix); ok {
			if n, err := strconv.Atoi(s); err == nil {
				gens = append(gens, p.generation(n))
			}
		}
	}
	slices.SortFunc(gens, func(a, b generation) int { return cmp.Compare(a.n, b.n) })
	return gens, nil
}
