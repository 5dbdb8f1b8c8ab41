// Package tunnels reads from the kernel the outer addresses of the tunnels that end on this host.
// All traffic of a tunnel comes from there, so a block of such an address cuts off everything
// behind it.
package tunnels

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// mostPeers is the number of peers of one interface that are returned.
const mostPeers = 4096

// Endpoint is the other end of a tunnel.
type Endpoint struct {
	Addr      netip.Addr
	Interface string
	Kind      string // as ip -d link shows it: wireguard, gre, vxlan, …
}

// Read returns the endpoints of the tunnels among the interfaces. They are sorted and have no
// duplicates. If some cannot be read, it returns the others and an error.
func Read(links []netlink.Link) ([]Endpoint, error) {
	var all []Endpoint
	var errs []error
	for _, l := range links {
		peers, err := peersOf(l)
		if gone := errors.Is(err, unix.ENODEV); err != nil && !gone {
			errs = append(errs, fmt.Errorf("read the peers of %s %s: %w", l.Type(), l.Attrs().Name, err))
		}
		for _, a := range peers {
			all = append(all, Endpoint{a, l.Attrs().Name, l.Type()})
		}
	}
	slices.SortFunc(all, func(a, b Endpoint) int { return a.Addr.Compare(b.Addr) })
	return slices.Compact(all), errors.Join(errs...)
}

// peersOf returns the addresses of the peers of one interface, each once.
func peersOf(l netlink.Link) (peers []netip.Addr, err error) {
	switch l := l.(type) {
	case *netlink.Wireguard:
		peers, err = wireGuardPeers(l.Attrs().Index)
	case *netlink.Vxlan:
		peers, err = forwards(l.Attrs().Index)
	}
	if a, ok := host(remote(l)); ok {
		peers = append(peers, a)
	}
	slices.SortFunc(peers, netip.Addr.Compare)
	peers = slices.Compact(peers)
	if len(peers) > mostPeers && err == nil {
		err = fmt.Errorf("it has more than %d; put the others in guard.never_block", mostPeers)
	}
	return peers[:min(len(peers), mostPeers)], err
}

// remote returns the one peer of an interface, if it has one.
func remote(l netlink.Link) net.IP {
	switch l := l.(type) {
	case *netlink.Gretun:
		return l.Remote
	case *netlink.Gretap:
		return l.Remote
	case *netlink.Iptun:
		return l.Remote
	case *netlink.Ip6tnl:
		return l.Remote
	case *netlink.Sittun:
		return l.Remote
	case *netlink.Vti:
		return l.Remote
	case *netlink.Geneve:
		return l.Remote
	case *netlink.Vxlan:
		return l.Group
	}
	return nil
}

// forwards returns the peers in the forwarding table of a VXLAN.
func forwards(index int) ([]netip.Addr, error) {
	entries, err := netlink.NeighListExecute(netlink.Ndmsg{Family: unix.AF_BRIDGE, Index: uint32(index)})
	var peers []netip.Addr
	for _, e := range entries {
		if a, ok := host(e.IP); ok {
			peers = append(peers, a)
		}
	}
	// An interrupted dump has all entries that did not change meanwhile. On a large network some
	// change all the time.
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil
	}
	return peers, err
}

// host returns the address of another host. A VXLAN may also send to a multicast group.
func host(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	a = a.Unmap()
	return a, ok && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback()
}
