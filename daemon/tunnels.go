package daemon

import (
	"slices"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/loader/hostinfo"
)

// tunnelsOf returns the configured tunnels in the form of the loader.
func tunnelsOf(configured []config.Tunnel) (t loader.Tunnels) {
	for _, c := range configured {
		switch c.Kind {
		case config.TunnelGRE:
			t.GRE = true
		case config.TunnelIPIP:
			t.IPIP = true
		case config.TunnelSIT:
			t.SIT = true
		case config.TunnelVXLAN:
			t.VXLAN = append(t.VXLAN, c.Port)
		case config.TunnelGeneve:
			t.Geneve = append(t.Geneve, c.Port)
		}
	}
	return t
}

// tunnelNames returns the tunnels that the filter looks into, as in the configuration.
func (d *Daemon) tunnelNames() (names []string) {
	for _, t := range d.settings().Tunnels {
		names = append(names, t.String())
	}
	return names
}

// unseenTunnels returns the tunnels of this host that the filter does not look into.
func (d *Daemon) unseenTunnels() []control.Tunnel {
	all, err := hostinfo.Tunnels()
	if err != nil {
		d.log.Warn("the tunnels of this host cannot be read", "error", err)
	}
	return unseenAmong(all, d.tunnelNames())
}

// unseenAmong returns those of which a protocol is not among seen.
func unseenAmong(all []hostinfo.Tunnel, seen []string) []control.Tunnel {
	var rest []control.Tunnel
	for _, t := range all {
		missing := func(wrapper string) bool { return !slices.Contains(seen, wrapper) }
		if len(t.Wrappers) == 0 || slices.ContainsFunc(t.Wrappers, missing) {
			rest = append(rest, control.Tunnel{Name: t.Name, Kind: t.Kind})
		}
	}
	return rest
}
