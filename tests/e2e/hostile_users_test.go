package e2e

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// asUser runs f on a thread of its own, with the rights of a user in the given groups. The kernel
// takes the sockets that f opens for that user's.
func asUser(uid int, groups []uint32, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		if err := becomeUser(uid, groups); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

// becomeUser changes the calling thread alone, unlike the functions of package syscall.
func becomeUser(uid int, groups []uint32) error {
	var first unsafe.Pointer
	if len(groups) > 0 {
		first = unsafe.Pointer(&groups[0])
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0)
	if errno != 0 {
		return errno
	}
	id := uintptr(uid)
	for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
		if _, _, errno := unix.RawSyscall(call, id, id, id); errno != 0 {
			return errno
		}
	}
	return nil
}

// dialAs connects as a user.
func dialAs(uid int, groups []uint32, network, address string) (c net.Conn, err error) {
	err = asUser(uid, groups, func() error {
		c, err = net.DialTimeout(network, address, patience)
		return err
	})
	return c, err
}

// tryAsStranger is a user of this host outside the group, who may do nothing.
func tryAsStranger(ctx context.Context, s *storm) {
	link := filepath.Join(s.daemon.BPFFS, "links", interfaceName)
	attempts := map[string]func() error{
		"connects to the socket": func() error {
			c, err := net.Dial("unix", s.daemon.Socket)
			if err == nil {
				c.Close()
			}
			return err
		},
		"removes the socket": func() error { return os.Remove(s.daemon.Socket) },
		"removes a pin":      func() error { return os.Remove(link) },
		"renames the pins":   func() error { return os.Rename(s.daemon.BPFFS, s.daemon.BPFFS+"-mine") },
		"adds a pin":         func() error { return os.Mkdir(filepath.Join(s.daemon.BPFFS, "gen-999"), 0o755) },
		"reads the entries": func() error {
			_, err := os.ReadFile(filepath.Join(s.daemon.StateDir, "state.db"))
			return err
		},
		"kills the daemon": func() error { return unix.Kill(s.pid, unix.SIGKILL) },
	}
	for pause(ctx, 50*time.Millisecond) {
		for what, attempt := range attempts {
			err := asUser(nobody, nil, attempt)
			// At a restart the socket is absent for a moment.
			refused := errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOENT) ||
				errors.Is(err, unix.ESRCH)
			s.expect("strangers may do nothing", refused, "a stranger %s: %v", what, err)
		}
	}
}
