package hostinfo

import (
	"net"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

// dialAs opens a connection on a thread that has the given uid.
func dialAs(t *testing.T, uid uintptr, addr string) net.Conn {
	t.Helper()
	var c net.Conn
	err := onThread(func() error {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, uid, uid, uid); errno != 0 {
			return errno
		}
		var err error
		c, err = net.Dial("tcp", addr)
		return err
	})
	check(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// onThread calls f on a thread that ends afterwards. It is not the first one, whose uid /proc shows
// as that of the process.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if syscall.Gettid() == os.Getpid() {
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f() // still locked, so the thread ends with the goroutine
	}()
	return <-done
}

func TestPeerUID(t *testing.T) {
	loopbackUp(t)
	for _, tt := range []struct{ listen, dial string }{
		{"127.0.0.1:2320", "127.0.0.1:2320"}, {"[::1]:2320", "[::1]:2320"}, {":2321", "127.0.0.1:2321"},
		{":2321", "[::1]:2321"},
	} {
		l, err := net.Listen("tcp", tt.listen)
		check(t, err)
		for _, uid := range []uintptr{0, 65534} {
			client := dialAs(t, uid, tt.dial)
			server, err := l.Accept()
			check(t, err)
			if got, ok := PeerUID(server); !ok || got != uint32(uid) {
				t.Errorf("%s from uid %d: %d, %t", tt.listen, uid, got, ok)
			}
			// A socket that was closed belongs to nobody, and must not count as root's.
			check(t, client.Close())
			if got, ok := PeerUID(server); ok {
				t.Errorf("%s from uid %d, closed: uid %d", tt.listen, uid, got)
			}
			check(t, server.Close())
		}
		check(t, l.Close())
	}
}

func TestBridgePorts(t *testing.T) {
	br := bridge(t, "brp0")
	port := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "port0", MasterIndex: br.Attrs().Index}, PeerName: "port1",
	}
	check(t, netlink.LinkAdd(port))
	t.Cleanup(func() { check(t, netlink.LinkDel(port)) })
	for name, want := range map[string][]string{"brp0": {"port0"}, "port0": nil, "lo": nil, "missing0": nil} {
		got, err := BridgePorts(name)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
