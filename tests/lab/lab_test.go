package lab_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/tests/testenv"
)

func TestMain(m *testing.M) { lab.Main(m) }

func TestSandboxIsEmpty(t *testing.T) {
	testenv.Root(t)
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Type() != "device" && l.Type() != "" || l.Attrs().Name == "eth0" {
			t.Errorf("found interface %s of type %q in a new network namespace", l.Attrs().Name, l.Type())
		}
	}
	for _, pattern := range []string{"/sys/fs/bpf/*", "/run/*"} {
		found, err := filepath.Glob(pattern)
		// The kernel itself puts its iterators into every bpffs.
		found = slices.DeleteFunc(found, func(name string) bool { return filepath.Ext(name) == ".debug" })
		if err != nil || len(found) > 0 {
			t.Errorf("want nothing at %s, got %v, %v", pattern, found, err)
		}
	}
	if self, err := os.Readlink("/proc/self"); err != nil || self != "1" {
		t.Errorf("/proc/self: got %q, %v; want process 1", self, err)
	}
}

func newWire(t *testing.T) *lab.Wire {
	t.Helper()
	testenv.Root(t)
	w, err := lab.NewWire("wire0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func capture(t *testing.T, open func() (*lab.Capture, error)) *lab.Capture {
	t.Helper()
	c, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func sources(t *testing.T, c *lab.Capture) map[netip.Addr]int {
	t.Helper()
	got, err := c.Sources()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// The kernel's own parser and checksums accept the frames that frame builds, and a real socket
// answers over the wire.
func TestDatagramsFromAnySourceAreAnswered(t *testing.T) {
	w := newWire(t)
	server, err := lab.Serve(5353)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	atHost, atPeer := capture(t, w.CaptureHost), capture(t, w.CapturePeer)

	a := netip.MustParseAddr
	want := map[netip.Addr]int{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i, src := range []netip.Addr{a("8.8.8.8"), a("77.90.185.20"), a("2a00:1450::1"), a("10.0.0.255")} {
		p := w.From(src)
		frames := [][]byte{p.UDP(4000, 5353, []byte("odd")), p.UDP(4000, 5353, make([]byte, 1200))}
		if src.Is6() {
			frames = append(frames,
				p.Extension(frame.HopByHop, 8).Extension(frame.DestinationOptions, 8).UDP(4000, 5353, nil))
		} else {
			frames = append(frames, p.Options(1, 1, 1, 1).UDP(4000, 5353, nil))
		}
		frames = frames[:min(len(frames), i+1)]
		want[src] = len(frames)
		if err := w.Send(frames...); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Sync(ctx, atHost); err != nil {
		t.Fatal(err)
	}
	if err := w.Settle(ctx, server); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, server.Sources(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("datagrams at the socket (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, sources(t, atHost), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("frames at the host end (-want +got):\n%s", diff)
	}
	for deadline := time.Now().Add(time.Minute); sources(t, atPeer)[w.Addr4()] < 6 ||
		sources(t, atPeer)[w.Addr6()] < 3; {
		if time.Now().After(deadline) {
			t.Fatalf("answers at the peer end: got %v, want 6 from %s and 3 from %s", sources(t, atPeer), w.Addr4(),
				w.Addr6())
		}
		time.Sleep(time.Millisecond)
	}
}

func TestWireLosesNothing(t *testing.T) {
	w := newWire(t)
	atHost := capture(t, w.CaptureHost)
	const n = 100_000
	frames := make([][]byte, 0, n)
	for i := range n {
		src := netip.AddrFrom4([4]byte{20, byte(i >> 16), byte(i >> 8), byte(i)})
		frames = append(frames, w.From(src).VLAN(frame.Dot1Q, 7).UDP(1, 2, nil))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start := time.Now()
	if err := w.Send(frames...); err != nil {
		t.Fatal(err)
	}
	if err := w.Sync(ctx, atHost); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d frames in %v", n, time.Since(start))
	got := sources(t, atHost)
	if len(got) != n {
		t.Errorf("got frames from %d sources, want %d", len(got), n)
	}
	if other := atHost.Other(); other != 0 {
		t.Errorf("got %d frames that the test did not send", other)
	}
}
