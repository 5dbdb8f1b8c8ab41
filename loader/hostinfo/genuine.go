package hostinfo

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// mostTitle is the number of bytes that are read of the title of an SSH server.
	mostTitle = 4 << 10
	// mostArguments is the number of bytes that are read of other command lines.
	mostArguments = 64 << 10
	// mostStatus is enough for all of /proc/PID/status before the groups.
	mostStatus = 4 << 10
	// mostName is the length of a name in /proc/PID/comm.
	mostName = 15
)

// genuine reports whether a process runs the program that its name tells. Any user may give a
// process any name and title, so that says nothing. The program must be root's, nobody else may be
// able to write it, and its file must have the name. The process must be in this network
// namespace: the peers of a container are not those of the host.
func genuine(proc string, pid int, name string) (bool, error) {
	dir := fmt.Sprintf("%s/%d/", proc, pid)
	path, err := os.Readlink(dir + "exe")
	if err != nil {
		return false, fmt.Errorf("%w; give the daemon CAP_SYS_PTRACE", err)
	}
	if !isProgram(filepath.Base(strings.TrimSuffix(path, " (deleted)")), name) {
		return false, nil
	}
	var file, here, there unix.Stat_t
	if err := unix.Stat(dir+"exe", &file); err != nil {
		return false, err
	}
	if file.Uid != 0 || file.Mode&0o022 != 0 {
		return false, nil
	}
	if err := unix.Stat("/proc/self/ns/net", &here); err != nil {
		return false, err
	}
	if err := unix.Stat(dir+"ns/net", &there); err != nil {
		return false, err
	}
	return here.Ino == there.Ino && here.Dev == there.Dev, nil
}

// isProgram reports whether a file may be the program of a process with this name. NixOS wraps
// programs, and dropbear may be one program of several.
func isProgram(file, name string) bool {
	file = strings.TrimSuffix(strings.TrimPrefix(file, "."), "-wrapped")
	return file == name || len(name) == mostName && strings.HasPrefix(file, name) ||
		name == dropbear && file == "dropbearmulti"
}

// readUpTo reads the first bytes of a file of /proc. A process may make its command line as long as
// it likes.
func readUpTo(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// arguments returns the command line of a process, in words. A command line that is too long has
// none.
func arguments(proc string, pid int) ([]string, error) {
	text, err := readUpTo(fmt.Sprintf("%s/%d/cmdline", proc, pid), mostArguments)
	if err != nil || len(text) == mostArguments {
		return nil, err
	}
	return strings.Split(string(text), "\x00"), nil
}
