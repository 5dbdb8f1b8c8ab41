package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/doctor"
)

func (g *gatherer) host() {
	h := &g.facts.Host
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		h.Release = unix.ByteSliceToString(name.Release[:])
	}
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	h.BTF = err == nil
	h.CPUs, err = cpus()
	g.unseen("the number of CPUs", err)
	h.JIT, err = number("/proc/sys/net/core/bpf_jit_enable")
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("only the network namespace of the host shows it")
	}
	g.unseen("whether the BPF JIT is on", err)
	h.UnprivilegedBPF, err = number("/proc/sys/kernel/unprivileged_bpf_disabled")
	g.unseen("who may load BPF programs", err)
	h.BPFFS, err = fileSystem(g.options.BPFFS)
	g.unseen("the file system of "+g.options.BPFFS, err)
	h.BPFFS.Dirs, err = bpfDirs(h.BPFFS.Path)
	g.unseen("who may change "+g.options.BPFFS, err)
	h.StateDir, err = fileSystem(g.options.StateDir)
	g.unseen("the file system of "+g.options.StateDir, err)
	h.ClockSynced, err = clockSynced()
	g.unseen("whether the clock is synchronised", err)
}

// cpus returns the number of CPUs that the kernel may bring up, from the end of the
// last range: "0-7" or "0,2-3".
func cpus() (int, error) {
	text, err := os.ReadFile("/sys/devices/system/cpu/possible")
	if err != nil {
		return 0, err
	}
	ranges := strings.TrimSpace(string(text))
	last, err := strconv.Atoi(ranges[strings.LastIndexAny(ranges, ",-")+1:])
	if err != nil {
		return 0, fmt.Errorf("possible CPUs %q: %w", ranges, err)
	}
	return last + 1, nil
}

func number(path string) (*int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return &n, nil
}

// bpfDirs returns path and the directories above it that are on a BPF file system.
func bpfDirs(path string) ([]doctor.Dir, error) {
	var dirs []doctor.Dir
	for ; path != ""; path = filepath.Dir(path) {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return dirs, fmt.Errorf("look at %s: %w", path, err)
		}
		s, err := statfs(path)
		if err != nil {
			return dirs, fmt.Errorf("look at %s: %w", path, err)
		}
		if int64(s.Type) != unix.BPF_FS_MAGIC {
			break
		}
		mode := st.Mode & 0o7777
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			mode = 0 // the mode of a symbolic link means nothing
		}
		dirs = append(dirs, doctor.Dir{Path: path, UID: int(st.Uid), Mode: mode})
	}
	return dirs, nil
}

// fileSystem describes the file system of path, or the one that path will be on
// once it exists.
func fileSystem(path string) (doctor.FileSystem, error) {
	fsys := doctor.FileSystem{Asked: path}
	for nearest := filepath.Clean(path); ; nearest = filepath.Dir(nearest) {
		s, err := statfs(nearest)
		if err == unix.ENOENT && nearest != filepath.Dir(nearest) {
			continue
		}
		if err == unix.EACCES && nearest != filepath.Dir(nearest) {
			// A directory that only root may enter is mostly on the file system
			// of its parent.
			continue
		}
		if err != nil {
			return fsys, fmt.Errorf("look at %s: %w", nearest, err)
		}
		fsys.Path, fsys.BPF, fsys.ReadOnly = nearest, s.Type == unix.BPF_FS_MAGIC, s.Flags&unix.ST_RDONLY != 0
		fsys.Free = s.Bavail * uint64(s.Bsize)
		return fsys, nil
	}
}

// statfs describes the file system of path. With fs.protected_symlinks, which most distributions
// set, nobody but its owner may follow a symbolic link in a sticky directory such as a bpffs of mode
// 1777. Then it describes the file system of the link itself.
func statfs(path string) (s unix.Statfs_t, err error) {
	if err = unix.Statfs(path, &s); err == unix.EACCES && isSymlink(path) {
		err = unix.Statfs(filepath.Dir(path), &s)
	}
	return s, err
}

func isSymlink(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}

func clockSynced() (*bool, error) {
	var t unix.Timex // no mode is set, so this only reads
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return nil, err
	}
	synced := state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
	return &synced, nil
}

// process returns the effective capabilities and the limit on locked memory of a
// process. Each is nil if it cannot be read.
func process(pid int) (capabilities, memlock *uint64) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	if text, err := os.ReadFile(filepath.Join(dir, "status")); err == nil {
		capabilities = parseCapabilities(string(text))
	}
	if text, err := os.ReadFile(filepath.Join(dir, "limits")); err == nil {
		memlock = parseMemlock(string(text))
	}
	return capabilities, memlock
}

func parseCapabilities(status string) *uint64 {
	for line := range strings.Lines(status) {
		if bits, ok := strings.CutPrefix(line, "CapEff:"); ok {
			if n, err := strconv.ParseUint(strings.TrimSpace(bits), 16, 64); err == nil {
				return &n
			}
		}
	}
	return nil
}

func parseMemlock(limits string) *uint64 {
	for line := range strings.Lines(limits) {
		rest, ok := strings.CutPrefix(line, "Max locked memory")
		fields := strings.Fields(rest)
		if !ok || len(fields) == 0 {
			continue
		}
		n := ^uint64(0)
		if fields[0] != "unlimited" {
			var err error
			if n, err = strconv.ParseUint(fields[0], 10, 64); err != nil {
				return nil
			}
		}
		return &n
	}
	return nil
}
