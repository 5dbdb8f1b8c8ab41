package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/lockfile"
)

// sharedDir is what the sandboxes of MainEach share.
const sharedDir = "/run/lab"

// keepShared prepares sharedDir for the sandbox of a single test. mount makes it visible after a
// new /run has hidden it.
func keepShared() (mount func() error, err error) {
	if os.Getenv(alone) == "" {
		return func() error { return nil }, nil
	}
	fd, err := unix.Open(sharedDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", sharedDir, err)
	}
	return func() error {
		defer unix.Close(fd)
		if err := os.Mkdir(sharedDir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), sharedDir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", sharedDir, err)
		}
		return nil
	}, nil
}

// Once fills the folder name of /run/lab, unless it is there, and returns its path. fill gets an
// empty folder, which has this name once it is complete. Other sandboxes that ask for the same
// folder wait meanwhile.
func Once(name string, fill func(dir string) error) (dir string, err error) {
	dir = filepath.Join(sharedDir, name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	lock, err := os.Create(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := lockfile.Take(lock, time.Hour); err != nil {
		return "", fmt.Errorf("wait for %s: %w", dir, err)
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), name+".")
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.Chmod(fresh, 0o755), fill(fresh)); err != nil {
		return "", errors.Join(err, os.RemoveAll(fresh))
	}
	return dir, os.Rename(fresh, dir)
}
