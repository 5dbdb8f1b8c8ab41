package e2e

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/lab/frame"
)

const tunnelName = "tun1"

// hostTunnels are the tunnels that may end on the host, as the configuration names them. wrap puts a
// datagram into a packet from the peer. Ethernet tunnels need the address of the interface.
var hostTunnels = []struct {
	name string
	link func(netlink.LinkAttrs) netlink.Link
	wrap func(outer frame.Packet, in []byte) []byte
}{
	{"vxlan:4789", func(a netlink.LinkAttrs) netlink.Link {
		return &netlink.Vxlan{LinkAttrs: a, VxlanId: 5, Port: 4789, SrcAddr: outerLocal}
	}, func(p frame.Packet, in []byte) []byte { return p.UDP(50000, 4789, frame.InVXLAN(5, in)) }},
	{"geneve:6081", func(a netlink.LinkAttrs) netlink.Link {
		return &netlink.Geneve{LinkAttrs: a, ID: 5, Dport: 6081, Remote: outerRemote}
	}, func(p frame.Packet, in []byte) []byte { return p.UDP(50000, 6081, frame.InGeneve(5, 0, in)) }},
	{"gre", func(a netlink.LinkAttrs) netlink.Link {
		return &netlink.Gretun{LinkAttrs: a, Local: outerLocal, Remote: outerRemote}
	}, func(p frame.Packet, in []byte) []byte { return p.Raw(frame.GRE, frame.InGRE(0, in)) }},
	{"ipip", func(a netlink.LinkAttrs) netlink.Link {
		return &netlink.Iptun{LinkAttrs: a, Local: outerLocal, Remote: outerRemote}
	}, func(p frame.Packet, in []byte) []byte { return p.Raw(frame.IPinIP, in[frame.EthernetSize:]) }},
	{"sit", func(a netlink.LinkAttrs) netlink.Link {
		return &netlink.Sittun{LinkAttrs: a, Local: outerLocal, Remote: outerRemote, Proto: unix.IPPROTO_IPV6}
	}, func(p frame.Packet, in []byte) []byte { return p.Raw(frame.IPv6inIP, in[frame.EthernetSize:]) }},
}

var (
	outerLocal  = net.IPv4(192, 0, 2, 1) // of the host's end of the wire
	outerRemote = net.IPv4(192, 0, 2, 2)
)

// A blocked source inside a tunnel gets through until the daemon starts with the tunnel in its
// configuration. Status and why name the tunnel until then.
func TestTunnelsThatEndHere(t *testing.T) {
	for _, tunnel := range hostTunnels {
		t.Run(tunnel.name, func(t *testing.T) {
			h, rewrite := configured(t, "interfaces: [up0]\n")
			h.ctl(0, "block", "2001:db8:b::7")
			mac, kind := h.addTunnel(tunnel.link)
			send := h.sendThrough(mac, tunnel.name == "sit", tunnel.wrap)
			server := h.serve()
			if got := send(server, kind); kind != "" && got != [2]int{50, 50} {
				t.Errorf("without the option %v of 50 blocked and 50 other datagrams arrived, want all", got)
			}
			if got := h.reason(interfaceName, "blocked"); got != 0 {
				t.Errorf("without the option %d packets are counted as blocked", got)
			}
			h.namesTunnel(kind, kind != "")
			rewrite("interfaces: [up0]\ntunnels: [" + tunnel.name + "]\n")
			if !strings.Contains(h.run.Log(), "need a restart") {
				t.Error("the reload does not say that tunnels need a restart")
			}
			h.kill()
			h.start()
			if got := send(server, kind); kind != "" && got != [2]int{0, 50} {
				t.Errorf("with the option %v of 50 blocked and 50 other datagrams arrived, want only the others", got)
			}
			if got := h.reason(interfaceName, "blocked"); got != 50 {
				t.Errorf("with the option %d packets are counted as blocked, want 50", got)
			}
			h.namesTunnel(kind, false)
			if got := ctlJSON[control.Status](h, "status").Tunnels; len(got) != 1 || got[0] != tunnel.name {
				t.Errorf("status: looks into %v, want %s", got, tunnel.name)
			}
		})
	}
}

// addTunnel adds the tunnel, and returns the address that its Ethernet frames are sent to, and its
// kind. Without the kind of tunnel in the kernel it returns no kind: then only the filter is tested.
func (h *host) addTunnel(of func(netlink.LinkAttrs) netlink.Link) (mac frame.MAC, kind string) {
	h.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = tunnelName
	link := of(attrs)
	if err := netlink.LinkAdd(link); errors.Is(err, unix.EOPNOTSUPP) {
		h.Logf("the kernel has no %s: only the counters of the filter are compared", link.Type())
		return mac, ""
	} else if err != nil {
		h.Fatalf("add a tunnel of %s: %v", link.Type(), err)
	}
	h.Cleanup(func() { check(h.T, netlink.LinkDel(link)) })
	check(h.T, netlink.LinkSetUp(link))
	found := nicByName(h.T, tunnelName)
	copy(mac[:], found.Attrs().HardwareAddr)
	return mac, found.Type()
}

// sendThrough returns a function that sends datagrams of a blocked source and of another through the
// tunnel, and returns how many of each arrived if the kernel has the kind of tunnel.
func (h *host) sendThrough(mac frame.MAC, ipv6 bool, wrap func(frame.Packet, []byte) []byte) func(*lab.Server,
	string) [2]int {
	sources := [2]netip.Addr{netip.MustParseAddr(blockedSource), netip.MustParseAddr("203.0.113.99")}
	if ipv6 {
		sources = [2]netip.Addr{netip.MustParseAddr("2001:db8:b::7"), netip.MustParseAddr("2001:db8:f::7")}
	}
	outer := h.wire.From(netip.MustParseAddr("192.0.2.2"))
	return func(s *lab.Server, kind string) (arrived [2]int) {
		h.Helper()
		before := s.Sources()
		for range 50 {
			for _, src := range sources {
				in := h.wire.From(src).Ethernet(mac, frame.MAC{2, 0, 0, 0, 0, 9})
				check(h.T, h.wire.Send(wrap(outer, in.UDP(clientPort, serverPort, []byte("in")))))
			}
		}
		h.settle(s)
		if kind == "" {
			return arrived
		}
		// The kernel takes packets out of a tunnel later, and in order. So the others are waited for.
		h.within("the datagrams of a source that is not blocked arrive", patience,
			func() bool { return s.Sources()[sources[1]]-before[sources[1]] == 50 })
		for i, src := range sources {
			arrived[i] = s.Sources()[src] - before[src]
		}
		return arrived
	}
}

// namesTunnel checks whether status and why name the tunnel as one that is not looked into.
func (h *host) namesTunnel(kind string, want bool) {
	h.Helper()
	for _, args := range [][]string{{"status"}, {"why", blockedSource}} {
		out := h.ctl(0, args...).Stdout
		if got := strings.Contains(out, tunnelName+" ("+kind+")"); got != want {
			h.Errorf("paraxialctl %s names the tunnel: %t, want %t\n%s", args, got, want, out)
		}
	}
}
