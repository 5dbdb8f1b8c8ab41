// Package hostinfo reads from the kernel the addresses that the host depends on: its own
// addresses, its gateways, its resolvers, and the peers of SSH sessions. It changes nothing
// and looks up no names.
package hostinfo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LocalAddr is an address of the host.
type LocalAddr struct {
	Addr      netip.Addr
	Interface string
}

// Gateway is a router in a route of the host.
type Gateway struct {
	Addr      netip.Addr
	Interface string
}

// Facts are the addresses that the host depends on. They are unmapped and without zone. The
// lists are sorted and have no duplicates.
type Facts struct {
	Addresses []LocalAddr
	Gateways  []Gateway
	Resolvers []netip.Addr // without loopback stubs
	SSHPeers  []netip.Addr
}

// Options of Read.
type Options struct {
	// SSHPorts are the local ports whose peers count as SSH sessions.
	SSHPorts []uint16
	// ResolvConf are the files with resolvers, DefaultResolvConf if nil. A file
	// that does not exist counts as empty.
	ResolvConf []string
}

// DefaultResolvConf returns the files with resolvers. With systemd-resolved the first one
// has only its stub on loopback.
func DefaultResolvConf() []string {
	return []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}
}

// Read collects the facts. If some cannot be read, it returns the others and an error.
func Read(ctx context.Context, o Options) (Facts, error) {
	if o.ResolvConf == nil {
		o.ResolvConf = DefaultResolvConf()
	}
	// A block waits for both. Each takes a fraction of a millisecond.
	var peers []netip.Addr
	var peersErr error
	var reading sync.WaitGroup
	reading.Go(func() { peers, peersErr = sshPeers(o.SSHPorts) })
	f, err := readRest(ctx, o)
	reading.Wait()
	f.SSHPeers = peers
	return f, errors.Join(err, peersErr)
}

// readRest collects the facts other than SSH peers.
func readRest(ctx context.Context, o Options) (Facts, error) {
	var f Facts
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	names, err := interfaceNames()
	note(err)
	for _, read := range []func(){
		func() { f.Addresses, err = addresses(names); note(err) },
		func() { f.Gateways, err = gateways(names); note(err) },
		func() { f.Resolvers, err = resolvers(o.ResolvConf); note(err) },
	} {
		if err := ctx.Err(); err != nil {
			return f, errors.Join(append(errs, err)...)
		}
		read()
	}
	return f, errors.Join(errs...)
}

// dumpTries is the number of attempts to read a list that changes while it is read.
const dumpTries = 5

// dump reads a list from the kernel until a read was not interrupted by a change.
func dump[T any](what string, read func() ([]T, error)) ([]T, error) {
	var list []T
	var err error
	for range dumpTries {
		if list, err = read(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return list, fmt.Errorf("read %s: %w", what, err)
	}
	return list, nil
}

func interfaceNames() (map[int]string, error) {
	links, err := dump("interfaces", netlink.LinkList)
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	return names, err
}

func addresses(names map[int]string) ([]LocalAddr, error) {
	list, err := dump("addresses", func() ([]netlink.Addr, error) {
		return netlink.AddrList(nil, netlink.FAMILY_ALL)
	})
	var addrs []LocalAddr
	for _, a := range list {
		if a.IPNet == nil {
			continue
		}
		if addr, ok := toAddr(a.IP); ok {
			addrs = append(addrs, LocalAddr{addr, names[a.LinkIndex]})
		}
	}
	slices.SortFunc(addrs, func(a, b LocalAddr) int { return a.Addr.Compare(b.Addr) })
	return slices.Compact(addrs), err
}

// gateways reads the routes of all tables, including those from router advertisements.
func gateways(names map[int]string) ([]Gateway, error) {
	var gws []Gateway
	var errs []error
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump("routes", func() ([]netlink.Route, error) {
			all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
			return netlink.RouteListFiltered(family, all, netlink.RT_FILTER_TABLE)
		})
		errs = append(errs, err)
		for _, r := range routes {
			gws = appendHop(gws, names[r.LinkIndex], r.Gw, r.Via)
			for _, hop := range r.MultiPath {
				gws = appendHop(gws, names[hop.LinkIndex], hop.Gw, hop.Via)
			}
		}
	}
	slices.SortFunc(gws, func(a, b Gateway) int { return a.Addr.Compare(b.Addr) })
	return slices.Compact(gws), errors.Join(errs...)
}

// appendHop adds the next hop. The next hop of an IPv4 route may be an IPv6 address.
func appendHop(gws []Gateway, iface string, gw net.IP, via netlink.Destination) []Gateway {
	if v, ok := via.(*netlink.Via); ok {
		gw = v.Addr
	}
	if addr, ok := toAddr(gw); ok {
		gws = append(gws, Gateway{addr, iface})
	}
	return gws
}

func toAddr(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	return a.Unmap(), ok
}
