package hostinfo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/paraxial/paraxial/loader/internal/isolated"
	"github.com/paraxial/paraxial/tests/testenv"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { isolated.Main(m) }

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// bridge makes an interface that is up, with addresses.
func bridge(t *testing.T, name string, addrs ...string) netlink.Link {
	t.Helper()
	testenv.Root(t)
	lk := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
	check(t, netlink.LinkAdd(lk))
	t.Cleanup(func() { check(t, netlink.LinkDel(lk)) })
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		check(t, err)
		if strings.Contains(a, ":") {
			addr.Flags = unix.IFA_F_NODAD
		}
		check(t, netlink.AddrAdd(lk, addr))
	}
	check(t, netlink.LinkSetUp(lk))
	return lk
}

func loopbackUp(t *testing.T) {
	t.Helper()
	testenv.Root(t)
	lo, err := netlink.LinkByName("lo")
	check(t, err)
	check(t, netlink.LinkSetUp(lo))
}

func newReader(t *testing.T) *Reader {
	t.Helper()
	r := NewReader()
	t.Cleanup(func() { check(t, r.Close()) })
	return r
}

func read(t *testing.T, o Options) Facts {
	t.Helper()
	f, err := newReader(t).Read(t.Context(), o)
	check(t, err)
	return f
}

func TestAddresses(t *testing.T) {
	loopbackUp(t)
	bridge(t, "br.7", "192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64")
	var got []LocalAddr
	for _, a := range read(t, Options{}).Addresses {
		if !a.Addr.IsLinkLocalUnicast() { // the kernel adds a link-local address
			got = append(got, a)
		}
	}
	want := []LocalAddr{
		{netip.MustParseAddr("127.0.0.1"), "lo"},
		{netip.MustParseAddr("192.0.2.1"), "br.7"},
		{netip.MustParseAddr("192.0.2.2"), "br.7"},
		{netip.MustParseAddr("::1"), "lo"},
		{netip.MustParseAddr("2001:db8::1"), "br.7"},
	}
	if diff := gocmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

func TestGateways(t *testing.T) {
	a := bridge(t, "gwa", "192.0.2.1/24", "2001:db8::1/64").Attrs().Index
	b := bridge(t, "gwb", "198.51.100.1/24").Attrs().Index
	anywhere, anywhere6 := network("0.0.0.0/0"), network("::/0")
	for _, r := range []*netlink.Route{
		{Dst: anywhere, LinkIndex: a, Gw: net.ParseIP("192.0.2.254")},
		{Dst: network("203.0.113.0/24"), LinkIndex: b, Gw: net.ParseIP("198.51.100.9"), Table: 100},
		{Dst: network("10.0.0.0/8"), MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: a, Gw: net.ParseIP("192.0.2.252")},
			{LinkIndex: b, Gw: net.ParseIP("198.51.100.252")},
		}},
		{
			Dst: network("10.1.0.0/16"), LinkIndex: a,
			Via: &netlink.Via{AddrFamily: netlink.FAMILY_V6, Addr: net.ParseIP("2001:db8::5")},
		},
		{Dst: anywhere6, LinkIndex: a, Gw: net.ParseIP("fe80::1"), Protocol: unix.RTPROT_RA},
		{Dst: network("10.2.0.0/16"), LinkIndex: a, Gw: net.ParseIP("192.0.2.254")},
	} {
		check(t, netlink.RouteAdd(r))
	}
	want := []Gateway{
		{netip.MustParseAddr("192.0.2.252"), "gwa"},
		{netip.MustParseAddr("192.0.2.254"), "gwa"},
		{netip.MustParseAddr("198.51.100.9"), "gwb"},
		{netip.MustParseAddr("198.51.100.252"), "gwb"},
		{netip.MustParseAddr("2001:db8::5"), "gwa"},
		{netip.MustParseAddr("fe80::1"), "gwa"},
	}
	if diff := gocmp.Diff(want, read(t, Options{}).Gateways, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("gateways (-want +got):\n%s", diff)
	}
}

func network(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}

// The two ways to read sockets agree over IPv4, over IPv6, and over IPv4 to a server that
// listens on both.
func TestSockets(t *testing.T) {
	loopbackUp(t)
	bridge(t, "ssh0", "192.0.2.1/24")
	for _, tt := range []struct{ name, network, listen, dial, from string }{
		{"IPv4", "tcp4", "192.0.2.1:2201", "192.0.2.1:2201", "127.0.0.9"},
		{"IPv6", "tcp6", "[::1]:2202", "[::1]:2202", "::1"},
		{"mapped", "tcp", "[::]:2203", "192.0.2.1:2203", "127.0.0.8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			connect(t, tt.network, tt.listen, tt.dial, tt.from)
			expectSameFromProc(t)
			all, err := sockets(tcpEstablished)
			check(t, err)
			peer := netip.MustParseAddr(tt.from)
			if !slices.ContainsFunc(all, func(s socket) bool { return s.peer == peer }) {
				t.Errorf("%s is not among the peers of %v", peer, all)
			}
		})
	}
}

// connect keeps a connection open for the test, and a listening socket, which is not a session.
func connect(t *testing.T, network, listen, dial, from string) {
	t.Helper()
	l, err := net.Listen(network, listen)
	check(t, err)
	t.Cleanup(func() { check(t, l.Close()) })
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", dial)
	check(t, err)
	s, err := l.Accept()
	check(t, err)
	t.Cleanup(func() {
		// A reset leaves no TIME_WAIT for the next test.
		check(t, c.(*net.TCPConn).SetLinger(0))
		check(t, c.Close())
		check(t, s.Close())
	})
}

// expectSameFromProc compares the two ways to read sockets.
func expectSameFromProc(t *testing.T) {
	t.Helper()
	diag, err := diagnose(1<<tcpEstablished | 1<<tcpListen)
	check(t, err)
	proc, err := readProc("/proc/net/tcp", 1<<tcpEstablished|1<<tcpListen)
	check(t, err)
	byAll := func(a, b socket) int {
		return cmp.Or(a.peer.Compare(b.peer), cmp.Compare(a.localPort, b.localPort))
	}
	slices.SortFunc(diag, byAll)
	slices.SortFunc(proc, byAll)
	if !slices.Equal(diag, proc) {
		t.Errorf("sock_diag has %v, /proc/net/tcp and tcp6 %v", diag, proc)
	}
}

func TestParseProc(t *testing.T) {
	for _, bad := range []string{
		"x\n0: 1:2",
		"x\n0: 0100007F:0016 0200007G:1234 01 0:0 0:0 0 0 0 7",
		"x\n0: 0100007F:0016 02:1234 01 0:0 0:0 0 0 0 7",
		"x\n0: 0100007F:XX 0200007F:1234 01 0:0 0:0 0 0 0 7",
		"x\n0: 0100007F:0016 0200007F:1234 01 0:0 0:0 0 0 0 x",
		"x\n0: 0100007F:0016 0200007F:1234 G1 0:0 0:0 0 0 0 7",
	} {
		if s, err := parseProc(strings.NewReader(bad), ^uint32(0)); err == nil {
			t.Errorf("parseProc(%q) = %v, want an error", bad, s)
		}
	}
}

func TestResolvers(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	stub, upstream := filepath.Join(dir, "stub"), filepath.Join(dir, "upstream")
	check(t, os.WriteFile(stub, []byte("# nameserver 192.0.2.99\nnameserver 127.0.0.53\nnameserver ::1\n"+
		"options edns0\nnameserver\nnameserver nonsense\n"), 0o600))
	check(t, os.WriteFile(upstream, []byte("nameserver 192.0.2.53\n  nameserver\tfe80::53%eth0\n"+
		"nameserver ::ffff:192.0.2.53\nsearch example.org"), 0o600))
	f := read(t, Options{ResolvConf: []string{stub, filepath.Join(dir, "missing"), upstream}})
	got := f.Resolvers
	want := []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("fe80::53")}
	if diff := gocmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("resolvers (-want +got):\n%s", diff)
	}
}

// Read returns the facts that it can read, with an error for the others.
func TestReadPartial(t *testing.T) {
	loopbackUp(t)
	f, err := newReader(t).Read(t.Context(), Options{ResolvConf: []string{t.TempDir()}})
	if err == nil || !strings.Contains(err.Error(), "resolvers") {
		t.Errorf("error %v, want one about resolvers", err)
	}
	if len(f.Addresses) == 0 {
		t.Error("the addresses are missing")
	}
}

func TestWatch(t *testing.T) {
	testenv.Root(t)
	for name, watch := range map[string]func(context.Context, func()) error{"all": Watch, "links": WatchLinks} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			calls, result := make(chan struct{}), make(chan error, 1)
			go func() {
				result <- watch(ctx, func() {
					select {
					case calls <- struct{}{}:
					case <-ctx.Done():
					}
				})
			}()
			expectCall(t, calls, "at the start")
			for i := range 3 { // three changes in one burst
				bridge(t, fmt.Sprintf("wat%d", i))
			}
			expectCall(t, calls, "after interfaces came")
			cancel()
			if err := <-result; !errors.Is(err, context.Canceled) {
				t.Errorf("returned %v", err)
			}
		})
	}
}

func expectCall(t *testing.T, calls <-chan struct{}, when string) {
	t.Helper()
	select {
	case <-calls:
	case <-time.After(time.Minute):
		t.Fatalf("no call %s", when)
	}
}

// Watching continues after the socket overran, and the loss counts as a change.
func TestReceiveAfterOverrun(t *testing.T) {
	testenv.Root(t)
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	check(t, err)
	check(t, unix.SetsockoptInt(sock.GetFd(), unix.SOL_SOCKET, unix.SO_RCVBUF, 2048))
	for i := range 5 {
		bridge(t, fmt.Sprintf("ovr%d", i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, _, err := sock.Receive(); !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("the socket did not overrun: %v", err)
	}
	for i := range 5 {
		bridge(t, fmt.Sprintf("ovr%d", 5+i))
	}
	changes, ended := make(chan struct{}, 1), make(chan struct{})
	go func() {
		receive(ctx, sock, changes)
		close(ended)
	}()
	expectCall(t, changes, "after an overrun")
	select {
	case <-ended:
		t.Fatal("watching ended after an overrun")
	case <-time.After(200 * time.Millisecond):
	}
	for len(changes) > 0 {
		<-changes
	}
	bridge(t, "ovr99")
	expectCall(t, changes, "for a change after it")
}

// cover mounts one file or directory over another, for this test.
func cover(t *testing.T, over, under string) {
	t.Helper()
	check(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	check(t, unix.Mount(over, under, "", unix.MS_BIND, ""))
	t.Cleanup(func() { check(t, unix.Unmount(under, unix.MNT_DETACH)) })
}
