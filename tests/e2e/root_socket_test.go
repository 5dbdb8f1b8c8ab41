package e2e

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
)

const statusRequest = "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"

// crowd connects n times as a member of the group, each with a request. Nothing is read.
func (m *member) crowd(n int) []net.Conn {
	m.Helper()
	all := make([]net.Conn, 0, n)
	err := asUser(m.uid, []uint32{socketGroup}, func() error {
		for range n {
			c, err := net.Dial("unix", m.daemon.Socket)
			if err != nil {
				return err
			}
			all = append(all, c)
			if _, err := c.Write([]byte(statusRequest)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() {
		for _, c := range all {
			c.Close()
		}
	})
	return all
}

// served returns the number of connections that the daemon has answered or closed.
func served(t *testing.T, all []net.Conn) int {
	t.Helper()
	n := 0
	for _, c := range all {
		raw, err := c.(*net.UnixConn).SyscallConn()
		check(t, err)
		check(t, raw.Control(func(fd uintptr) {
			var b [1]byte
			_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			if !errors.Is(err, unix.EAGAIN) {
				n++
			}
		}))
	}
	return n
}

// The connections of a member that wait to be accepted do not delay root's, because root has a
// socket of its own.
func TestRootDoesNotQueueBehindMembers(t *testing.T) {
	const waiting = 2000
	h := crowdedHost(t, 20_000)
	check(t, h.run.Signal(syscall.SIGSTOP))
	all := h.member(nobody).crowd(waiting)
	c, err := net.Dial("unix", control.RootSocket(h.daemon.Socket))
	check(t, err)
	defer c.Close()
	_, err = c.Write([]byte(statusRequest))
	check(t, err)
	check(t, h.run.Signal(syscall.SIGCONT))
	_, err = c.Read(make([]byte, 1))
	check(t, err)
	n := served(t, all)
	t.Logf("%d of %d connections of a member were served before root's", n, waiting)
	if n > waiting/2 {
		t.Errorf("%d of %d connections of a member were served before root's, want %d at most", n, waiting, waiting/2)
	}
}

// ctlAsRoot runs paraxialctl without naming a socket. It must succeed.
func (h *host) ctlAsRoot(args ...string) {
	h.Helper()
	if r, err := h.daemon.RunDefault(h.Context(), args...); err != nil || r.Code != 0 {
		h.Errorf("paraxialctl %s: %+v, %v", strings.Join(args, " "), r, err)
	}
}

// The socket for root has the mode for root alone, comes back if it is removed, and goes when the
// daemon ends. Without it root's commands use the usual one, as with an older daemon.
func TestRootSocketOfDaemon(t *testing.T) {
	h := newSharedHost(t)
	path := control.RootSocket(h.daemon.Socket)
	mode := func() fs.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return info.Mode().Perm()
	}
	if got := mode(); got != 0o600 {
		t.Errorf("mode %o, want 600", got)
	}
	r := h.as([]uint32{socketGroup}, h.daemon.Ctl, "status", "--socket", path)
	if r.Code == 0 || !strings.Contains(r.Stderr, "run this as root") {
		t.Errorf("a member on the socket for root: %+v", r)
	}
	// Only the socket for root is left, and only root's commands find it.
	check(t, os.Rename(h.daemon.Socket, h.daemon.Socket+".away"))
	h.ctlAsRoot("block", "203.0.113.1")
	h.within("the usual socket is back", patience, func() bool {
		_, err := os.Stat(h.daemon.Socket)
		return err == nil
	})
	check(t, os.Remove(path))
	h.ctlAsRoot("block", "203.0.113.2")
	h.within("the socket for root is back", patience, func() bool { return mode() == 0o600 })
	check(t, h.run.Stop(t.Context()))
	h.run = nil
	if mode() != 0 {
		t.Error("the socket for root stays when the daemon ends")
	}
}

// A path that is taken keeps root from a socket of its own, and nothing else.
func TestRootSocketTaken(t *testing.T) {
	h := newHost(t)
	path := control.RootSocket(h.daemon.Socket)
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte("precious"), 0o600))
	t.Cleanup(func() { os.Remove(path) })
	h.start()
	h.ctlAsRoot("status")
	if w := ctlJSON[control.Status](h, "status").Warnings; len(w) != 1 || !strings.Contains(w[0], path) {
		t.Errorf("warnings %q, want one that names %s", w, path)
	}
}
