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

// ensure makes the directories that are missing, and takes the lock. The parents are
// checked first: if nobody else can write to them, nobody can make the directory in between.
func (p *pinDir) ensure() error {
	if err := checkPrivate(filepath.Dir(p.path)); err != nil {
		return err
	}
	if err := makeDir(p.path); err != nil {
		return err
	}
	if err := checkPrivate(p.path); err != nil {
		return err
	}
	if err := p.take(lockTimeout); err != nil {
		return err
	}
	links := filepath.Join(p.path, linksDir)
	if err := makeDir(links); err != nil {
		return err
	}
	gens, err := p.generations()
	if err != nil {
		return err
	}
	errs := []error{checkIsDir(links)}
	for _, g := range gens {
		errs = append(errs, checkIsDir(g.path))
	}
	return errors.Join(errs...)
}

func makeDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the directory for pins: %w", err)
	}
	return nil
}

// take takes the lock of the directory unless it is held already. Without it two daemons
// could undo the changes of each other. A directory that was removed and made again needs a
// new lock. If another process has the lock, take waits for it.
func (p *pinDir) take(wait time.Duration) error {
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
	if err := lockfile.Take(f, wait); err != nil {
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
	files, err := readDir(filepath.Join(p.path, linksDir))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		name, ok, err := p.linkOf(f)
		if err != nil {
			return nil, err
		}
		if ok {
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
	files, err := readDir(p.path)
	if err != nil {
		return nil, err
	}
	var gens []generation
	for _, f := range files {
		if n, ok := generationNumber(f); ok {
			gens = append(gens, p.generation(n))
		}
	}
	slices.SortFunc(gens, func(a, b generation) int { return cmp.Compare(a.n, b.n) })
	return gens, nil
}

// nextGeneration returns a generation with a higher number than last, whose name no stray
// has.
func (p pinDir) nextGeneration(last int) (generation, error) {
	for n := last + 1; ; n++ {
		g := p.generation(n)
		if _, err := os.Lstat(g.path); errors.Is(err, fs.ErrNotExist) {
			return g, nil
		} else if err != nil {
			return generation{}, err
		}
	}
}

// maxGeneration bounds the numbers, so that there is always a higher one. A generation is
// made at each start.
const maxGeneration = 1 << 30

// generationNumber returns the number of a generation, if f is its directory.
func generationNumber(f fs.DirEntry) (n int, ok bool) {
	digits, ok := strings.CutPrefix(f.Name(), genPrefix)
	if !ok || !f.IsDir() {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n > 0 && n <= maxGeneration && strconv.Itoa(n) == digits
}
