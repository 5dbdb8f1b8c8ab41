package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ErrDifferentProgram says that the program in force on an interface is not the one that
// this daemon loaded, so that it cannot be asked.
var ErrDifferentProgram = errors.New("a different program is in force")

// ErrNotAttached says that this daemon has not attached to the interface.
var ErrNotAttached = errors.New("not attached")

// ErrNoInterface says that an interface does not exist.
var ErrNoInterface = errors.New("no such interface (`ip link` lists them)")

// ErrNoBPFFS says that the directory for pins is not on a BPF file system.
var ErrNoBPFFS = errors.New("not on a BPF file system: run `mount -t bpf -o mode=0700 bpf /sys/fs/bpf`")

// FullError says that a map has no room for more entries.
type FullError struct {
	Map      string
	Capacity uint32
}

func (e *FullError) Error() string {
	return fmt.Sprintf("map %s is full at %d entries: raise max_entries in the configuration and restart the daemon",
		e.Map, e.Capacity)
}

// ApplyError tells how much of a delta was applied.
type ApplyError struct {
	Applied int // changes in the kernel
	Total   int // changes asked for
	Err     error
}

func (e *ApplyError) Error() string {
	return fmt.Sprintf("apply to the kernel: %v (%d of %d changes made)", e.Err, e.Applied, e.Total)
}

func (e *ApplyError) Unwrap() error { return e.Err }

// ForeignError says that an interface runs an XDP program that is not Paraxial's. Attach
// never replaces it. RemoveForeign removes it, which the daemon does only if the
// configuration has `repair: always`.
type ForeignError struct {
	Interface string
	ProgramID uint32
	Name      string // empty if we may not look it up
	Mode      Mode
}

func (e *ForeignError) Error() string {
	program := fmt.Sprintf("XDP program %d", e.ProgramID)
	if e.Name != "" {
		program += " (" + e.Name + ")"
	}
	off := "xdp"
	switch e.Mode {
	case ModeNative:
		off = "xdpdrv"
	case ModeGeneric:
		off = "xdpgeneric"
	}
	return fmt.Sprintf("%s already runs %s, which is not Paraxial's: "+
		"stop the program that loaded it, or remove it with `ip link set dev %s %s off`",
		e.Interface, program, e.Interface, off)
}

// explain adds to errors of the host what the user can do. The verifier returns EACCES
// for our program only if CAP_PERFMON is missing.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)", err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%w (the kernel is out of memory, or the daemon has reached its memory limit: "+
			"raise MemoryMax of its unit)", err)
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("%w (needs Linux 5.10 or newer)", err)
	}
	return err
}
