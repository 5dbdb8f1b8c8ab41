package store

import (
	"errors"
	"fmt"
)

var (
	// ErrDamaged means that the file differs from what was written to it. Nothing
	// of it was used or changed.
	ErrDamaged = errors.New("state file is damaged")
	// ErrNewerFormat means that a later version wrote the file.
	ErrNewerFormat = errors.New("state file has a newer format")
	// ErrLocked means that another process has the file open.
	ErrLocked = errors.New("state file is in use")
	// ErrClosed means that Close was called.
	ErrClosed = errors.New("store is closed")
)

// damagedError adds the place of the damage and the steps for the user.
type damagedError struct {
	path  string
	cause error
}

func (e *damagedError) Error() string {
	return fmt.Sprintf("%s is damaged: %v; it was not changed, and the filter in the kernel stays as it is. "+
		"Restore a backup of the file, or move it away to start empty (mv %s %s.damaged) and import your lists again",
		e.path, e.cause, e.path, e.path)
}

func (e *damagedError) Unwrap() []error { return []error{ErrDamaged, e.cause} }

// newerError is returned by verify for a file of a later version.
type newerError struct{ format uint64 }

func (e *newerError) Error() string {
	return fmt.Sprintf("written by a newer paraxiald (format %d, this one reads %d): "+
		"start the newer version, or move the file away to start empty", e.format, newestFormat)
}

func (e *newerError) Unwrap() error { return ErrNewerFormat }
