package hostinfo

import (
	"net"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Tunnel is an interface that is up and takes packets out of other packets.
type Tunnel struct {
	Name string
	Kind string // as ip -d link shows it: gre, vxlan, wireguard, …
	// Wrappers are the protocols around its packets, as the configuration names them. There are none
	// for a tunnel that the filter cannot look into.
	Wrappers []string
}

// Tunnels returns the tunnels that end on this host. PPP is not among them, because the filter looks
// into PPPoE.
func Tunnels() ([]Tunnel, error) {
	links, err := dump("interfaces", netlink.LinkList)
	return tunnelsAmong(links), err
}

func tunnelsAmong(links []netlink.Link) []Tunnel {
	var all []Tunnel
	for _, l := range links {
		wrappers, ok := wrappersOf(l)
		if ok && l.Attrs().Flags&net.FlagUp != 0 {
			all = append(all, Tunnel{l.Attrs().Name, l.Type(), wrappers})
		}
	}
	return all
}

// wrappersOf returns the protocols of an interface. ok is false if it is no tunnel.
func wrappersOf(l netlink.Link) (wrappers []string, ok bool) {
	var encapsulation uint16 // in UDP, which the filter does not look into
	switch l := l.(type) {
	case *netlink.Gretun:
		wrappers, encapsulation = []string{"gre"}, l.EncapType
	case *netlink.Gretap:
		wrappers, encapsulation = []string{"gre"}, l.EncapType
	case *netlink.Iptun:
		wrappers, encapsulation = []string{"ipip"}, l.EncapType
	case *netlink.Sittun:
		wrappers, encapsulation = insideIP(l.Proto), l.EncapType
	case *netlink.Ip6tnl:
		wrappers, encapsulation = insideIP(l.Proto), l.EncapType
	case *netlink.Vxlan:
		wrappers = []string{"vxlan:" + strconv.Itoa(l.Port)}
	case *netlink.Geneve:
		wrappers = []string{"geneve:" + strconv.Itoa(int(l.Dport))}
	case *netlink.Vti, *netlink.Xfrmi, *netlink.Wireguard:
	case *netlink.Tuntap: // a tap usually belongs to a virtual machine
		return nil, l.Mode == netlink.TUNTAP_MODE_TUN
	default:
		return nil, false
	}
	if encapsulation != 0 {
		wrappers = nil
	}
	return wrappers, true
}

// insideIP returns the wrappers for the protocol of a tunnel of IP in IP. 0 is both.
func insideIP(proto uint8) []string {
	switch proto {
	case unix.IPPROTO_IPIP:
		return []string{"ipip"}
	case unix.IPPROTO_IPV6:
		return []string{"sit"}
	}
	return []string{"ipip", "sit"}
}
