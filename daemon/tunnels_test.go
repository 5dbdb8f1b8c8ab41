package daemon

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/loader/hostinfo"
)

func TestTunnelsOf(t *testing.T) {
	got := tunnelsOf([]config.Tunnel{{Kind: config.TunnelGRE}, {Kind: config.TunnelIPIP}, {Kind: config.TunnelSIT},
		{Kind: config.TunnelVXLAN, Port: 1}, {Kind: config.TunnelGeneve, Port: 2}, {Kind: config.TunnelVXLAN, Port: 3}})
	want := loader.Tunnels{GRE: true, IPIP: true, SIT: true, VXLAN: []uint16{1, 3}, Geneve: []uint16{2}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if config.MaxTunnelPorts != loader.TunnelPorts {
		t.Errorf("the configuration takes %d ports, the program %d", config.MaxTunnelPorts, loader.TunnelPorts)
	}
}

// A tunnel with several protocols is seen only if all of them are.
func TestUnseenTunnels(t *testing.T) {
	all := []hostinfo.Tunnel{{Name: "g", Kind: "gre", Wrappers: []string{"gre"}}, {Name: "w", Kind: "wireguard"},
		{Name: "any", Kind: "sit", Wrappers: []string{"ipip", "sit"}},
		{Name: "v", Kind: "vxlan", Wrappers: []string{"vxlan:8472"}}}
	for _, c := range []struct {
		seen []string
		want string
	}{
		{nil, "gwanyv"}, {[]string{"gre", "sit", "vxlan:4789"}, "wanyv"},
		{[]string{"gre", "sit", "ipip", "vxlan:8472"}, "w"},
	} {
		var names string
		for _, t := range unseenAmong(all, c.seen) {
			names += t.Name
		}
		if names != c.want {
			t.Errorf("looking into %v: %s is not seen, want %s", c.seen, names, c.want)
		}
	}
	if got := unseenAmong(all[1:2], nil); len(got) != 1 || got[0] != (control.Tunnel{Name: "w", Kind: "wireguard"}) {
		t.Errorf("got %v", got)
	}
}
