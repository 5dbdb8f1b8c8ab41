package hostinfo

import (
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Each tunnel that is up is named with its protocols. Most kernels cannot create all kinds.
func TestTunnelsAmong(t *testing.T) {
	up := func(name string) netlink.LinkAttrs { return netlink.LinkAttrs{Name: name, Flags: net.FlagUp} }
	v4 := net.IPv4(192, 0, 2, 1)
	v6 := net.ParseIP("2001:db8::1")
	got := tunnelsAmong([]netlink.Link{
		&netlink.Gretun{LinkAttrs: up("g0"), Local: v4, Remote: v4},
		&netlink.Gretap{LinkAttrs: up("g1"), Local: v4, Remote: v4},
		&netlink.Gretun{LinkAttrs: up("g2"), Local: v6, Remote: v6},
		&netlink.Gretun{LinkAttrs: up("g3"), Local: v4, Remote: v4, EncapType: 1},
		&netlink.Iptun{LinkAttrs: up("i0")}, &netlink.Sittun{LinkAttrs: up("s0"), Proto: unix.IPPROTO_IPV6},
		&netlink.Sittun{LinkAttrs: up("s1")}, &netlink.Ip6tnl{LinkAttrs: up("i6"), Proto: unix.IPPROTO_IPIP},
		&netlink.Vxlan{LinkAttrs: up("v0"), Port: 8472}, &netlink.Geneve{LinkAttrs: up("n0"), Dport: 6081},
		&netlink.Wireguard{LinkAttrs: up("w0")}, &netlink.Xfrmi{LinkAttrs: up("x0")},
		&netlink.Vti{LinkAttrs: up("t0"), Local: v4, Remote: v4},
		&netlink.Tuntap{LinkAttrs: up("tun0"), Mode: netlink.TUNTAP_MODE_TUN},
		&netlink.Tuntap{LinkAttrs: up("tap0"), Mode: netlink.TUNTAP_MODE_TAP},
		&netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: "tunl0"}}, &netlink.Device{LinkAttrs: up("eth0")},
	})
	want := []Tunnel{
		{"g0", "gre", []string{"gre"}}, {"g1", "gretap", []string{"gre"}}, {"g2", "ip6gre", []string{"gre"}},
		{"g3", "gre", nil}, {"i0", "ipip", []string{"ipip"}}, {"s0", "sit", []string{"sit"}},
		{"s1", "sit", []string{"ipip", "sit"}}, {"i6", "ip6tnl", []string{"ipip"}},
		{"v0", "vxlan", []string{"vxlan:8472"}}, {"n0", "geneve", []string{"geneve:6081"}}, {"w0", "wireguard", nil},
		{"x0", "xfrm", nil}, {"t0", "vti", nil}, {"tun0", "tuntap", nil},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tunnels (-want +got):\n%s", diff)
	}
}
