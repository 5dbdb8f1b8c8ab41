package loader

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// checkPrivate returns an error unless only root, or the user of this process, can change
// dir and the directories above it on the BPF file system. Everybody else could remove the
// pins, and with them the filter.
func checkPrivate(dir string) error {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("directory for pins: %w", err)
	}
	for _, path := range []string{dir, resolved} {
		for ; onBPFFS(path) == nil; path = filepath.Dir(path) {
			if err := checkOwner(path); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOwner(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("directory for pins %s: %w", path, err)
	}
	isLink := st.Mode&unix.S_IFMT == unix.S_IFLNK
	switch {
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("directory for pins: %s belongs to uid %d, who could remove the filter: "+
			"run `chown root: %[1]s && chmod go-rwx %[1]s`, or choose another directory with --bpffs", path, st.Uid)
	case !isLink && st.Mode&0o022 != 0:
		return fmt.Errorf("directory for pins: other users may write to %s (mode %04o), and could remove the filter: "+
			"run `chmod go-rwx %[1]s`; mount a BPF file system with `-o mode=0700`", path, st.Mode&0o7777)
	}
	return nil
}

// checkIsDir returns an error if a file of ours is no directory, or not private.
func checkIsDir(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("directory for pins: %w", err)
	}
	if info.Mode().Type() != fs.ModeDir {
		return fmt.Errorf("directory for pins: %s is no directory: move it away", path)
	}
	return checkOwner(path)
}
