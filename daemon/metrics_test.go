package daemon

import (
	"net"
	"testing"
)

// Callers who can choose their address cannot pose as many.
func TestMetricsPeer(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "127.0.0.9": "this host",
		"2001:db8:0:1:2::3": "2001:db8:0:1::/64", "::1": "this host",
	} {
		// No such connection exists, so the kernel names no user.
		c := remote{addr: &net.TCPAddr{IP: net.ParseIP(addr), Port: 1}}
		if got := metricsPeer(c); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
}

// remote is a connection from an address.
type remote struct {
	net.Conn
	addr net.Addr
}

func (r remote) RemoteAddr() net.Addr { return r.addr }
func (r remote) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4zero, Port: 2} }
