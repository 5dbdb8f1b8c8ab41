package hostinfo

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// BridgePorts returns the names of the ports of a bridge. It returns none if the interface
// is not a bridge or does not exist.
func BridgePorts(name string) ([]string, error) {
	bridge, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at interface %s: %w", name, err)
	}
	if bridge.Type() != "bridge" {
		return nil, nil
	}
	links, err := dump("interfaces", netlink.LinkList)
	var ports []string
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge.Attrs().Index {
			ports = append(ports, l.Attrs().Name)
		}
	}
	return ports, err
}
