package hostinfo

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/tests/testenv"
)

// Connections finds both ends of a connection: inbound to a listening port, and outbound.
func TestConnections(t *testing.T) {
	loopbackUp(t)
	bridge(t, "con0", "192.0.2.1/24")
	comm, err := os.ReadFile("/proc/self/comm")
	check(t, err)
	me := fmt.Sprintf("%s[%d]", strings.TrimSpace(string(comm)), os.Getpid())
	for i, tt := range []struct{ network, listen, dial, from string }{
		{"tcp4", "192.0.2.1:2301", "192.0.2.1:2301", "127.0.0.21"},
		{"tcp6", "[::1]:2302", "[::1]:2302", "::1"},
		{"tcp", "[::]:2303", "192.0.2.1:2303", "127.0.0.23"},
	} {
		connect(t, tt.network, tt.listen, tt.dial, tt.from)
		to, peer := netip.MustParseAddrPort(tt.dial), netip.MustParseAddr(tt.from)
		in := connections(t, func(a netip.Addr) bool { return a == peer })
		in = slices.DeleteFunc(in, func(c Connection) bool { return c.Port != to.Port() || !c.Inbound })
		if len(in) != 1 || in[0].Peer != peer {
			t.Errorf("%d: inbound: %+v", i, in)
		}
		if got := Owners(in); len(got) != 1 || !slices.Equal(got[0], []string{me}) {
			t.Errorf("%d: owners: %v, want %s", i, got, me)
		}
		out := connections(t, func(a netip.Addr) bool { return a == to.Addr() })
		out = slices.DeleteFunc(out, func(c Connection) bool { return c.Port != to.Port() || c.Inbound })
		if len(out) != 1 {
			t.Errorf("%d: outbound: %+v", i, out)
		}
	}
	if none := connections(t, func(netip.Addr) bool { return false }); len(none) > 0 {
		t.Errorf("unwanted: %+v", none)
	}
}

func connections(t *testing.T, wanted func(netip.Addr) bool) []Connection {
	t.Helper()
	list, err := Connections(wanted)
	check(t, err)
	return list
}

// A listening socket is not a connection, and a closed connection is not either.
func TestConnectionsEnd(t *testing.T) {
	loopbackUp(t)
	l, err := net.Listen("tcp4", "127.0.0.1:2310")
	check(t, err)
	defer l.Close()
	every := func(netip.Addr) bool { return true }
	before := len(connections(t, every))
	c, err := net.Dial("tcp4", "127.0.0.1:2310")
	check(t, err)
	if got := len(connections(t, every)); got != before+2 {
		t.Errorf("%d connections, want both ends of one more than %d", got, before)
	}
	check(t, c.(*net.TCPConn).SetLinger(0))
	check(t, c.Close())
	if got := len(connections(t, every)); got != before {
		t.Errorf("%d connections after the end, want %d", got, before)
	}
}

// Forwarding of either family is found.
func TestForwards(t *testing.T) {
	testenv.Root(t)
	for _, name := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		check(t, os.WriteFile(name, []byte("0"), 0o644))
	}
	for _, name := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		if Forwards() {
			t.Error("forwards with both off")
		}
		check(t, os.WriteFile(name, []byte("1"), 0o644))
		if !Forwards() {
			t.Errorf("%s is ignored", name)
		}
		check(t, os.WriteFile(name, []byte("0"), 0o644))
	}
}

// Both ways to read UDP sockets find those that are connected to a peer.
func TestUDPConnections(t *testing.T) {
	loopbackUp(t)
	for i, tt := range []struct{ network, listen, from string }{
		{"udp4", "127.0.0.1:2311", "127.0.0.31"},
		{"udp6", "[::1]:2312", "::1"},
	} {
		to, from := netip.MustParseAddrPort(tt.listen), netip.MustParseAddr(tt.from)
		server, err := net.ListenUDP(tt.network, net.UDPAddrFromAddrPort(to))
		check(t, err)
		defer server.Close()
		local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
		client, err := net.DialUDP(tt.network, local, net.UDPAddrFromAddrPort(to))
		check(t, err)
		defer client.Close()
		out := connections(t, func(a netip.Addr) bool { return a == to.Addr() })
		want := []Connection{{Protocol: "udp", Peer: to.Addr(), Port: to.Port(), inode: out[0].inode}}
		if !slices.Equal(out, want) || out[0].inode == 0 {
			t.Errorf("%d: %+v, want %+v", i, out, want)
		}
		all, err := udpSockets()
		check(t, err)
		proc, err := readProc("/proc/net/udp", 1<<udpConnected|1<<udpUnconnected)
		check(t, err)
		sort := func(x, y socket) int { return cmp.Compare(x.inode, y.inode) }
		slices.SortFunc(all, sort)
		slices.SortFunc(proc, sort)
		if !slices.Equal(all, proc) {
			t.Errorf("%d: sock_diag has %v, /proc/net/udp and udp6 %v", i, all, proc)
		}
	}
	if len(connections(t, func(netip.Addr) bool { return false })) > 0 {
		t.Error("unwanted ones")
	}
}

// A connected socket is inbound if another socket listens on its port.
func TestConnectedInbound(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.9")
	all := []socket{
		{state: udpUnconnected, localPort: 443},
		{state: udpConnected, localPort: 443, peerPort: 50000, peer: peer},
	}
	got := connected("udp", all, udpConnected, func(netip.Addr) bool { return true })
	if want := []Connection{{Protocol: "udp", Peer: peer, Inbound: true, Port: 443}}; !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
