package probe

import (
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The few calls of bpf(2) that read existing objects. Only the loader uses
// cilium/ebpf, which would make the control command twice as large.

// programInfoLen covers struct bpf_prog_info up to name, linkInfoLen covers struct
// bpf_link_info up to prog_id.
const (
	programInfoLen  = 80
	programNameAt   = 64
	programNameLen  = 16
	linkInfoLen     = 16
	linkProgramIDAt = 8
)

// programName returns the name of a program. Only root may read it.
func programName(id uint32) (string, error) {
	attr := struct{ id, next, flags uint32 }{id: id}
	fd, err := bpf(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return "", fmt.Errorf("open program %d: %w", id, err)
	}
	defer unix.Close(fd)
	info := make([]byte, programInfoLen)
	if err := objectInfo(fd, info); err != nil {
		return "", fmt.Errorf("read program %d: %w", id, err)
	}
	return unix.ByteSliceToString(info[programNameAt : programNameAt+programNameLen]), nil
}

// pinnedProgram returns the program that a pinned link runs.
func pinnedProgram(path string) (uint32, error) {
	name, err := unix.BytePtrFromString(path)
	if err != nil {
		return 0, err
	}
	attr := struct {
		path      uint64
		fd, flags uint32
	}{path: uint64(uintptr(unsafe.Pointer(name))), flags: unix.BPF_F_RDONLY}
	fd, err := bpf(unix.BPF_OBJ_GET, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(name)
	if err == unix.EPERM || err == unix.EINVAL {
		attr.flags = 0 // links are opened for writing only
		fd, err = bpf(unix.BPF_OBJ_GET, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
		runtime.KeepAlive(name)
	}
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	info := make([]uint32, linkInfoLen/4)
	if err := objectInfo(fd, unsafe.Slice((*byte)(unsafe.Pointer(&info[0])), linkInfoLen)); err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return info[linkProgramIDAt/4], nil
}

func objectInfo(fd int, info []byte) error {
	attr := struct {
		fd, length uint32
		info       uint64
	}{uint32(fd), uint32(len(info)), uint64(uintptr(unsafe.Pointer(&info[0])))}
	_, err := bpf(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	runtime.KeepAlive(info)
	return err
}

func bpf(command int, attr unsafe.Pointer, length uintptr) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attr), length)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// pinName returns the name of the pin that the loader uses for an interface. Names
// of interfaces may have a dot, names of files on bpffs may not.
func pinName(iface string) string {
	var b strings.Builder
	for _, c := range []byte(iface) {
		if c == '-' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}
