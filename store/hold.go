package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Hold takes the lock of the store at path without reading the file, which may be
// damaged. release gives the lock back. While it is held no daemon can start. A
// store that does not exist needs no lock. The error wraps ErrLocked if a daemon
// runs.
func Hold(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, syscall.EROFS) {
		f, err = os.Open(path) // is enough for the lock
	}
	if errors.Is(err, fs.ErrNotExist) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock state file: %w", err)
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}
