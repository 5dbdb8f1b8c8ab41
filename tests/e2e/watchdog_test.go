package e2e

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/tests/testenv"
)

// notified receives what the daemon tells the service manager.
func (h *host) notified() <-chan string {
	h.Helper()
	path := filepath.Join(h.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	check(h.T, err)
	h.Cleanup(func() { c.Close() })
	h.daemon.Env = append(h.daemon.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=2000000")
	messages := make(chan string, 1000)
	go func() {
		defer close(messages)
		for buffer := make([]byte, 4096); ; {
			n, err := c.Read(buffer)
			if err != nil {
				return
			}
			messages <- string(buffer[:n])
		}
	}()
	return messages
}

// pings waits for n pings of the watchdog and returns how many came in time.
func pings(messages <-chan string, n int) (came int) {
	for timeout := time.After(patience / 2); came < n; {
		select {
		case m := <-messages:
			came += strings.Count(m, "WATCHDOG=1")
		case <-timeout:
			return came
		}
	}
	return came
}

// A change that waits for a disk delays no ping, however long it takes. The service manager would kill the daemon
// in the middle of the change, and again at every retry.
func TestWatchdogOnHungDisk(t *testing.T) {
	testenv.Root(t)
	if _, err := exec.LookPath("fsfreeze"); err != nil {
		testenv.Missing(t, "needs fsfreeze of util-linux")
	}
	dir, _ := mountExt4(t)
	h := newHost(t)
	h.daemon.StateDir = dir
	messages := h.notified()
	h.start()
	h.ctl(0, "block", "203.0.113.1", "--for", "3s") // something to expire
	if n := pings(messages, 3); n < 3 {
		t.Fatalf("%d pings of a daemon that is well", n)
	}
	check(t, exec.Command("fsfreeze", "-f", dir).Run())
	thaw := func() { exec.Command("fsfreeze", "-u", dir).Run() }
	defer thaw()
	blocked := make(chan error)
	go func() {
		_, err := h.daemon.Run(h.Context(), "block", blockedSource)
		blocked <- err
	}()
	const want = 12 // more than come before the daemon next looks for expired entries
	n := pings(messages, want)
	t.Logf("%d pings while the disk hangs", n)
	if n < want {
		t.Errorf("only %d pings while a change waits for the disk", n)
	}
	select {
	case err := <-blocked:
		t.Errorf("the change did not wait for the disk: %v", err)
	default:
		thaw()
		check(t, <-blocked)
	}
}
