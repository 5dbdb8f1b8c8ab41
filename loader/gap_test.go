package loader

import (
	"bytes"
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/paraxial/paraxial/policy"
	"golang.org/x/sys/unix"
)

// During restarts and replacements no packet of a blocked source passes.
func TestReplaceWithoutGap(t *testing.T) {
	dir := bpffs(t)
	veth(t, "gap0")
	l := open(t, dir, 100)
	apply(t, l, block("192.0.2.1/32", policy.TickForever, 0, 0), allow("203.0.113.0/24", policy.TickForever))
	attach(t, l, "gap0", ModeNative, 0)
	passed := packetSocket(t, "gap0")
	stop := flood(t, "gap0p", frameFrom(netip.MustParseAddr("192.0.2.1")))
	for i := range 6 {
		capacity := uint32(100 + i/3) // the third start needs new maps
		check(t, l.Close())
		l = open(t, dir, capacity)
		if !l.Reused() {
			apply(t, l, block("192.0.2.1/32", policy.TickForever, 0, 0))
		}
		attach(t, l, "gap0", ModeAuto, 0)
		check(t, l.Commit())
	}
	stop()
	// An allowed packet marks the end, and shows that the socket would have seen others.
	stop = flood(t, "gap0p", frameFrom(netip.MustParseAddr("203.0.113.1")))
	defer stop()
	buf := make([]byte, 2048)
	for {
		n, err := unix.Read(passed, buf)
		check(t, err)
		switch {
		case bytes.Contains(buf[:n], []byte{192, 0, 2, 1}):
			t.Fatal("a packet of the blocked source passed")
		case bytes.Contains(buf[:n], []byte{203, 0, 113, 1}):
			c, err := l.Counters()
			check(t, err)
			if c[0][Blocked].Packets < 100 {
				t.Errorf("%d packets blocked: too few to show anything", c[0][Blocked].Packets)
			}
			return
		}
	}
}

// packetSocket returns a raw socket on an interface. A read takes five seconds at most.
func packetSocket(t *testing.T, iface string) int {
	t.Helper()
	const allProtocols = 0x0300 // ETH_P_ALL in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, allProtocols)
	check(t, err)
	t.Cleanup(func() { check(t, unix.Close(fd)) })
	check(t, unix.Bind(fd,
		&unix.SockaddrLinklayer{Protocol: allProtocols, Ifindex: linkByName(t, iface).Attrs().Index}))
	check(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	return fd
}

// flood sends a frame repeatedly until the returned function is called.
func flood(t *testing.T, iface string, frame []byte) (stop func()) {
	t.Helper()
	fd := packetSocket(t, iface)
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
			}
			if _, err := unix.Write(fd, frame); err != nil && !errors.Is(err, unix.ENOBUFS) {
				t.Error(err)
				return
			}
		}
	})
	return func() {
		close(end)
		wg.Wait()
	}
}
