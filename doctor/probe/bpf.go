package probe

import (
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The few calls of bpf(2) that look at what there is. The library for it
// belongs to the loader, and would make the control command twice as large.

// programInfoLen reaches past name in struct bpf_prog_info, linkInfoLen past
// prog_id in struct bpf_link_info.
const (
	programInfoLen  = 80
	programNameAt   = 64
	programNameLen  = 16
	linkInfoLen     = 16
	linkProgramIDAt = 8
)

// programName asks for the name of a program, which is root's to know.
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

// pinName is how the loader writes the name of an interface, which may have a
// dot, as that of a file on bpffs, which may not.
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
