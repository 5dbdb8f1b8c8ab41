package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Tunnel is a kind of tunnel that the filter looks into.
type Tunnel struct {
	Kind TunnelKind
	Port uint16 // of VXLAN and Geneve, 0 for the others
}

// TunnelKind is a protocol of tunnels.
type TunnelKind string

// The kinds of tunnels.
const (
	TunnelGRE    TunnelKind = "gre"
	TunnelIPIP   TunnelKind = "ipip" // IPv4 in IP
	TunnelSIT    TunnelKind = "sit"  // IPv6 in IP
	TunnelVXLAN  TunnelKind = "vxlan"
	TunnelGeneve TunnelKind = "geneve"
)

// MaxTunnelPorts is the number of ports of each kind that the program has room for.
const MaxTunnelPorts = 4

// String returns the tunnel as in the file.
func (t Tunnel) String() string {
	if t.hasPort() {
		return string(t.Kind) + ":" + strconv.Itoa(int(t.Port))
	}
	return string(t.Kind)
}

func (t Tunnel) hasPort() bool { return t.Kind == TunnelVXLAN || t.Kind == TunnelGeneve }

func parseTunnel(s string) (Tunnel, error) {
	kind, port, colon := strings.Cut(s, ":")
	t := Tunnel{Kind: TunnelKind(kind)}
	kinds := []TunnelKind{TunnelGRE, TunnelIPIP, TunnelSIT, TunnelVXLAN, TunnelGeneve}
	switch {
	case !slices.Contains(kinds, t.Kind) || colon && !t.hasPort():
		return t, fmt.Errorf("%q is not accepted; want gre, ipip, sit, vxlan:PORT or geneve:PORT", s)
	case !t.hasPort():
		return t, nil
	case !colon:
		usual := map[TunnelKind]int{TunnelVXLAN: 4789, TunnelGeneve: 6081}[t.Kind]
		return t, fmt.Errorf("%q has no port; want one, as in %s:%d", s, s, usual)
	}
	n, err := parsePort(port)
	t.Port = n
	return t, err
}

func tunnelsKey(tunnels *[]Tunnel) key {
	k := listKey("tunnels", false, tunnels, text, parseTunnel, Tunnel.String)
	each := k.check
	k.check = func() error {
		if err := each(); err != nil {
			return err
		}
		return named("tunnels", checkTunnels(*tunnels))
	}
	return k
}

func checkTunnels(tunnels []Tunnel) error {
	ports := map[TunnelKind]int{}
	for i, t := range tunnels {
		if slices.Contains(tunnels[:i], t) {
			return fmt.Errorf("%s is listed twice; leave one of them out", t)
		}
		if ports[t.Kind]++; ports[t.Kind] > MaxTunnelPorts {
			return fmt.Errorf("%s is one port too many; want %d of %s at most", t, MaxTunnelPorts, t.Kind)
		}
	}
	return nil
}
