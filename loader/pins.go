package loader

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/paraxial/paraxial/lockfile"
	"golang.org/x/sys/unix"
)

const (
	linksDir      = "links"
	genPrefix     = "gen-"
	programPrefix = "prog_"
	nextPrefix    = "next_" // a program the link is about to be switched to
)

// lockTimeout lets a predecessor that is just exiting finish.
const lockTimeout = time.Second

// pinDir is the directory of all pins. The lock on it says that it is ours.
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

// check tells whether the directory is, or would be, on a BPF file system.
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

// take takes the lock of the directory, unless it is held: two daemons would
// each undo what the other does. A directory that was made anew is another one.
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
			err = fmt.Errorf("%s is in use: %s keeps its pins there; use that one, stop it first, or choose another directory with --bpffs", p.path, held.Holder())
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

// unlock gives the lock back.
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

// interfaces returns the names that have a link pinned, sorted.
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

// generations returns those there are, oldest first.
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

// linked returns the programs that the pinned links point at.
func (p pinDir) linked() (map[ebpf.ProgramID]bool, error) {
	names, err := p.interfaces()
	if err != nil {
		return nil, err
	}
	ids := map[ebpf.ProgramID]bool{}
	for _, name := range names {
		info, err := pinnedLinkInfo(p.link(name))
		if err != nil {
			return nil, fmt.Errorf("pinned link of %s: %w", name, err)
		}
		ids[info.Program] = true
	}
	return ids, nil
}

func pinnedLinkInfo(path string) (*link.Info, error) {
	lk, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		return nil, err
	}
	defer lk.Close()
	return lk.Info()
}

// found is what was there at the start.
type found struct {
	inForce *generation // nil if nothing filters
	highest int         // number of the newest generation, 0 if none
}

// tidy finds the generation in force and removes those that no link points
// into. If links point into several, a switch was cut short; the newest of
// them is in force, because no link is switched before its maps are filled.
func (p pinDir) tidy(log *slog.Logger) (found, error) {
	var f found
	linked, err := p.linked()
	if err != nil {
		return f, err
	}
	gens, err := p.generations()
	if err != nil {
		return f, err
	}
	for _, g := range gens {
		f.highest = g.n
		holds, err := g.holdsAny(linked)
		if err != nil {
			return f, err
		}
		if holds {
			f.inForce = &g
			continue
		}
		log.Info("removing a generation that no interface uses", "generation", g.String())
		if err := g.remove(); err != nil {
			return f, err
		}
	}
	return f, nil
}

// removeOldGenerations removes what no link points into, except keep.
func (p pinDir) removeOldGenerations(keep generation) error {
	linked, err := p.linked()
	if err != nil {
		return err
	}
	gens, err := p.generations()
	if err != nil {
		return err
	}
	for _, g := range gens {
		if g == keep {
			continue
		}
		holds, err := g.holdsAny(linked)
		if err != nil {
			return err
		}
		if !holds {
			if err := g.remove(); err != nil {
				return err
			}
		}
	}
	return nil
}

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

// next returns the path of the program of iface while its link is switched.
func (g generation) next(iface string) string {
	return filepath.Join(g.path, nextPrefix+encodeName(iface))
}

// ensure makes the directory and pins the maps that are not pinned in it. The
// maps may be pinned elsewhere too. Called again, it repairs.
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

// pinCopy pins m at path too, unless that is done. Map.Pin itself would move the
// first pin there. Others may pin the same map meanwhile.
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
		if !strings.HasPrefix(f.Name(), programPrefix) && !strings.HasPrefix(f.Name(), nextPrefix) {
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

// remove takes the directory away. The kernel frees what nothing else holds,
// large tries in a worker of its own.
func (g generation) remove() error {
	if err := os.RemoveAll(g.path); err != nil {
		return fmt.Errorf("remove %s: %w", g, err)
	}
	return nil
}

// encodeName writes an interface name so that a BPF file system takes it,
// which refuses dots: letters, digits and - stay, any other byte becomes _
// and two hexadecimal digits.
func encodeName(iface string) string {
	var b strings.Builder
	for _, c := range []byte(iface) {
		if isPlain(c) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

// decodeName is the inverse of encodeName.
func decodeName(s string) (iface string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '_' {
			b.WriteByte(s[i])
			continue
		}
		if i+3 > len(s) {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), encodeName(b.String()) == s
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-'
}
