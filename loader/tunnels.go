package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Tunnels are the kinds of tunnels that the program looks into.
type Tunnels struct {
	GRE    bool
	IPIP   bool     // IPv4 in IP
	SIT    bool     // IPv6 in IP
	VXLAN  []uint16 // ports, TunnelPorts at most
	Geneve []uint16 // the same
}

// TunnelPorts is the number of ports for each of VXLAN and Geneve.
const TunnelPorts = int(plainTunnelKindsTUNNEL_PORTS)

// set writes the tunnels into the constants of the program. A program without tunnels has no code
// for them once it is loaded.
func (t Tunnels) set(spec *ebpf.CollectionSpec) error {
	var kinds plainTunnelKinds
	for bit, on := range map[plainTunnelKinds]bool{
		plainTunnelKindsTUNNEL_GRE:  t.GRE,
		plainTunnelKindsTUNNEL_IPIP: t.IPIP,
		plainTunnelKindsTUNNEL_SIT:  t.SIT,
		plainTunnelKindsTUNNEL_UDP:  len(t.VXLAN)+len(t.Geneve) > 0,
	} {
		if on {
			kinds |= bit
		}
	}
	var vxlan, geneve [TunnelPorts]uint16
	if copy(vxlan[:], t.VXLAN) < len(t.VXLAN) || copy(geneve[:], t.Geneve) < len(t.Geneve) {
		return fmt.Errorf("look into tunnels: want %d ports of VXLAN and of Geneve at most", TunnelPorts)
	}
	v := spec.Variables
	err := errors.Join(v[plainVarTunnels].Set(uint32(kinds)), v[plainVarVxlanPorts].Set(vxlan),
		v[plainVarGenevePorts].Set(geneve))
	if err != nil {
		return fmt.Errorf("look into tunnels: %w", err)
	}
	return nil
}
