package program_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/paraxial/paraxial/tests/lab/frame"
)

// The ports of this test in place of those that the kernel gives to connections.
var replyPorts = struct{ First, Last uint32 }{20_000, 29_999}

// replySockets are the sockets of this test, on loopback addresses.
type replySockets struct {
	client, server netip.Addr
	// Connections of the client: each local port is within replyPorts, and the port of the server is not.
	tcp, udp netip.AddrPort
	// Of the server, within replyPorts: a TCP port with a listener, and a UDP port without a peer.
	listening, bound uint16
	// The client's end of a connection to listening.
	peer netip.AddrPort
	// Ports of the server outside of replyPorts.
	tcpServer, udpServer uint16
}

func openReplySockets(t *testing.T, client, server string) (s replySockets) {
	t.Helper()
	s.client, s.server = netip.MustParseAddr(client), netip.MustParseAddr(server)
	tcp := func(port uint16) net.Listener {
		l, err := net.Listen("tcp", netip.AddrPortFrom(s.server, port).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	udp := func(port uint16) net.PacketConn {
		c, err := net.ListenPacket("udp", netip.AddrPortFrom(s.server, port).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	s.tcpServer, s.udpServer, s.listening, s.bound = 8443, 8053, 20_443, 20_053
	tcp(s.tcpServer)
	tcp(s.listening)
	udp(s.bound)
	dial := func(network string, from, to uint16) netip.AddrPort {
		local := netip.AddrPortFrom(s.client, from)
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local)}
		if network == "udp" {
			d.LocalAddr = net.UDPAddrFromAddrPort(local)
		}
		c, err := d.Dial(network, netip.AddrPortFrom(s.server, to).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return local
	}
	s.tcp, s.udp = dial("tcp", 20_001, s.tcpServer), dial("udp", 20_002, s.udpServer)
	s.peer = dial("tcp", 20_003, s.listening)
	return s
}

// replyCases returns packets from a source that is dropped or limited, and whether they answer a
// connection of this host. The server is the remote host, except where it is said otherwise.
func replyCases(s replySockets) []struct {
	name    string
	frame   []byte
	answers bool
} {
	in := frame.IP(s.server, s.client)
	back := frame.IP(s.client, s.server) // the client is the remote host, and this host has the server
	tcp, udp, data := s.tcp.Port(), s.udp.Port(), []byte("some data")
	type c = struct {
		name    string
		frame   []byte
		answers bool
	}
	return []c{
		{"TCP data", in.TCP(s.tcpServer, tcp, frame.ACK, data), true},
		{"answer to a SYN", in.TCP(s.tcpServer, tcp, frame.SYN|frame.ACK, nil), true},
		{"TCP reset", in.TCP(s.tcpServer, tcp, frame.RST, nil), true},
		{"UDP", in.UDP(s.udpServer, udp, data), true},
		{"behind tags", in.VLAN(frame.QinQ1, 3).VLAN(frame.Dot1Q, 4).UDP(s.udpServer, udp, data), true},
		{"SYN", in.TCP(s.tcpServer, tcp, frame.SYN, nil), false},
		{"TCP from another port", in.TCP(s.tcpServer+1, tcp, frame.ACK, data), false},
		{"TCP to another port", in.TCP(s.tcpServer, tcp+1000, frame.ACK, data), false},
		{"UDP from another port", in.UDP(s.udpServer+1, udp, data), false},
		{"UDP to another port", in.UDP(s.udpServer, udp+1000, data), false},
		{"UDP ports in TCP", in.TCP(s.udpServer, udp, frame.ACK, data), false},
		{"TCP cut short", in.Raw(frame.TCP, in.TCP(s.tcpServer, tcp, frame.ACK, nil)[len(in.Raw(0, nil)):][:13]),
			false},
		{"no ports", in.Raw(frame.UDP, nil), false},
		{"echo", in.Echo(data), false},
		{"fragment", in.Fragment(0, true).UDP(s.udpServer, udp, make([]byte, 64)), false},
		{"later fragment", in.Fragment(8, false).UDP(s.udpServer, udp, make([]byte, 64)), false},
		{"to a service outside of the ports", back.TCP(tcp, s.tcpServer, frame.ACK, data), false},
		{"to a listener", back.TCP(s.peer.Port()+1, s.listening, frame.ACK, data), false},
		{"connection that the other side opened", back.TCP(s.peer.Port(), s.listening, frame.ACK, data), false},
		{"UDP to a service", back.UDP(udp, s.bound, data), false},
	}
}

// An answer to a connection of this host passes where an entry that lets answers pass would drop
// it. Nothing else passes, and the entry counts no drop.
func TestReply(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		for _, addresses := range [][2]string{{"127.0.0.1", "127.0.0.9"}, {"::1", "::1"}} {
			s := openReplySockets(t, addresses[0], addresses[1])
			for _, entry := range []struct {
				name    string
				v       verdict
				lets    bool
				dropped reason
			}{
				{"block", verdict{Drop: forever, Hit: hitBlocked}, true, blocked},
				{"limit", verdict{Limit: forever, LimitID: bucketEmpty}, true, limited},
				{"strict block", verdict{Drop: forever, Hit: hitBlocked, Strict: forever}, false, blocked},
				{"block that was strict", verdict{Drop: forever, Hit: hitBlocked, Strict: 1}, true, blocked},
			} {
				f.listSources()
				for _, a := range addresses {
					p, _ := netip.MustParseAddr(a).Prefix(netip.MustParseAddr(a).BitLen())
					f.put("block", p, entry.v)
				}
				for _, c := range replyCases(s) {
					for _, on := range []bool{true, false} {
						f.setReplyPorts(on)
						want := wantOne(entry.dropped, len(c.frame))
						want.Hits = hitsOf(entry.dropped)
						if on && entry.lets && c.answers {
							want = wantOne(reply, len(c.frame))
							want.Hits = map[uint32]uint64{}
						}
						check(t, entry.name+": "+c.name, want, f.observe(c.frame), c.frame)
					}
				}
			}
		}
	})
}

func (f *filter) setReplyPorts(on bool) {
	f.tb.Helper()
	ports := struct{ First, Last uint32 }{1, 0}
	if on {
		ports = replyPorts
	}
	if err := f.maps["reply_ports"].Put(uint32(0), ports); err != nil {
		f.tb.Fatal(err)
	}
}
