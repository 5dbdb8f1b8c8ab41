package loader

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/paraxial/paraxial/policy"
)

// The attached program looks into the tunnels of the options, in both builds, and Ask still compares it
// with its own copy.
func TestTunnels(t *testing.T) {
	// IPv4 in IPv4: 203.0.113.1 outside, 192.0.2.1 inside.
	ip := func(source byte, proto byte, length byte, rest ...byte) []byte {
		return append([]byte{0x45, 0, 0, length, 0, 0, 0, 0, 64, proto, 0, 0, source, 0, 2, 1, 10, 0, 0, 1}, rest...)
	}
	frame := append([]byte{12: 0x08, 13: 0x00}, ip(203, 4, 40, ip(192, 59, 20)...)...)
	for _, tunnels := range []Tunnels{{}, {GRE: true, SIT: true, VXLAN: []uint16{1}}, {IPIP: true}} {
		for _, b := range []build{plain, frags} {
			if b == frags && (!haveFrags() || !tunnels.IPIP) {
				continue
			}
			l, err := Open(Options{BPFFS: bpffs(t), MaxEntries: 100, Tunnels: tunnels})
			check(t, err)
			apply(t, l, block("192.0.2.0/24", policy.TickForever, policy.TickNever, 1))
			p, err := l.loadBuild(b, 3)
			check(t, err)
			action, err := p.Run(&ebpf.RunOptions{Data: frame})
			check(t, err)
			if got := action == xdpDrop; got != tunnels.IPIP {
				t.Errorf("%s with %+v drops IPv4 in IP of a blocked source: %t", b, tunnels, got)
			}
			check(t, p.Close())
			if !tunnels.IPIP || b == frags {
				check(t, l.Close())
				continue
			}
			veth(t, "tnl0")
			attach(t, l, "tnl0", ModeNative, 3)
			answer, err := l.Ask("tnl0", netip.MustParseAddr("192.0.2.1"))
			if want := (Answer{true, Blocked}); err != nil || answer != want {
				t.Errorf("with %+v: answer %+v, error %v; want %+v", tunnels, answer, err, want)
			}
			check(t, l.Close())
			delLink(t, "tnl0")
		}
	}
}

func TestTooManyPorts(t *testing.T) {
	for _, tunnels := range []Tunnels{{VXLAN: make([]uint16, TunnelPorts+1)}, {Geneve: make([]uint16, TunnelPorts+1)}} {
		if _, err := loadSpecs(10, 10, tunnels); err == nil {
			t.Errorf("%+v are accepted", tunnels)
		}
	}
	_, err := loadSpecs(10, 10, Tunnels{VXLAN: make([]uint16, TunnelPorts), Geneve: make([]uint16, TunnelPorts)})
	check(t, err)
}
