package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// FindPins returns the directories with pins of Paraxial on all mounted BPF file systems. It
// needs no configuration. If /proc is not mounted, it looks at DefaultBPFFS only.
func FindPins() ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if errors.Is(err, fs.ErrNotExist) {
		return findBelow(DefaultBPFFS)
	}
	if err != nil {
		return nil, fmt.Errorf("find pins: %w", err)
	}
	var found []string
	for _, dir := range bpfMounts(string(mounts)) {
		dirs, err := findBelow(dir)
		if err != nil {
			return nil, err
		}
		found = append(found, dirs...)
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// bpfMounts returns the mount points of the BPF file systems in a mountinfo file, with lines
// such as "31 23 0:27 / /sys/fs/bpf rw,nosuid shared:9 - bpf bpf rw,mode=700".
func bpfMounts(mountinfo string) []string {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var dirs []string
	for line := range strings.Lines(mountinfo) {
		head, tail, _ := strings.Cut(line, " - ")
		fields := strings.Fields(head)
		if len(fields) > 4 && strings.HasPrefix(tail, "bpf ") {
			dirs = append(dirs, unescape.Replace(fields[4]))
		}
	}
	return dirs
}

func findBelow(root string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(root, func(path string, f fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // removed meanwhile
		case err != nil:
			return err
		case f.IsDir() && isPinDir(path):
			found = append(found, path)
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find pins: %w", err)
	}
	return found, nil
}

// isPinDir tells whether path has pins of Paraxial: a generation with programs or tries, or,
// if all generations were removed, a link that runs our program. Other software has
// directories with the name of links, too.
func isPinDir(path string) bool {
	p := pinDir{path: path}
	gens, err := p.generations()
	if err != nil {
		return false
	}
	for _, g := range gens {
		files, err := readDir(g.path)
		if err == nil && slices.ContainsFunc(files, func(f fs.DirEntry) bool {
			return isProgramName(f.Name()) || slices.Contains(trieNames(), f.Name())
		}) {
			return true
		}
	}
	names, err := p.interfaces()
	return err == nil && slices.ContainsFunc(names, func(iface string) bool { return runsOurProgram(p.link(iface)) })
}

func runsOurProgram(path string) bool {
	lk, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		return false
	}
	defer lk.Close()
	info, err := lk.Info()
	if err != nil {
		return false
	}
	p, err := ebpf.NewProgramFromID(info.Program)
	if err != nil {
		return false
	}
	defer p.Close()
	described, err := p.Info()
	return err == nil && described.Name == plainProgParaxial
}
