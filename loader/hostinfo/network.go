package hostinfo

import (
	"errors"
	"net/netip"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/loader/hostinfo/tunnels"
)

// netFacts keeps the interfaces, addresses and routes of the host. The kernel announces a change
// before it acknowledges it. So a list that was read after the last announcement is the present
// one. Reading all lists for each request would take most of the request's time.
type netFacts struct {
	mu       sync.Mutex // guards links, addrs and routed
	gateways gateways
	links    kept[[]netlink.Link]
	addrs    kept[[]netlink.Addr]
	routed   kept[[]netip.Addr]
	asked    []netip.Addr // the addresses that routed is about
}

// kept is a list, with the number of announcements that came before it was read.
type kept[T any] struct {
	list  T
	after uint64
	known bool
}

// get returns the list, which it reads if there was an announcement since.
func (k *kept[T]) get(announced uint64, read func() (T, error)) (T, error) {
	if k.known && k.after == announced {
		return k.list, nil
	}
	list, err := read()
	k.list, k.after, k.known = list, announced, err == nil
	return list, err
}

func (n *netFacts) close() error { return n.gateways.close() }

// read sets the facts that the kernel knows about the network. services are the addresses that
// Facts.Routed is about.
func (n *netFacts) read(f *Facts, services []netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	now, announced := n.gateways.announced()
	links, linksErr := n.links.get(now.links, readLinks)
	names := interfaceNames(links)
	addrs, addrsErr := n.addrs.get(now.addrs, readAddresses)
	f.Addresses = localAddresses(addrs, names)
	if !slices.Equal(n.asked, services) {
		n.routed.known = false
		n.asked = slices.Clone(services)
	}
	f.Routed, _ = n.routed.get(now.all, func() ([]netip.Addr, error) { return hostRoutes(services), nil })
	var gatewaysErr error
	f.Gateways, gatewaysErr = n.gateways.list(names)
	n.readTunnels(f, links)
	return errors.Join(announced, linksErr, addrsErr, gatewaysErr)
}

// outside sets the facts about the network that WatchServers compares.
func (n *netFacts) outside(f *Facts) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	now, announced := n.gateways.announced()
	links, err := n.links.get(now.links, readLinks)
	n.readTunnels(f, links)
	return errors.Join(announced, err)
}

// readTunnels does not use kept peers, because the kernel does not announce them.
func (n *netFacts) readTunnels(f *Facts, links []netlink.Link) {
	var err error
	if f.Tunnels, err = tunnels.Read(links); err != nil {
		f.Problems = append(f.Problems, err.Error())
	}
}

func readLinks() ([]netlink.Link, error) { return dump("interfaces", netlink.LinkList) }

func readAddresses() ([]netlink.Addr, error) {
	return dump("addresses", func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
}

func interfaceNames(links []netlink.Link) map[int]string {
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	return names
}

func localAddresses(list []netlink.Addr, names map[int]string) []LocalAddr {
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
	return slices.Compact(addrs)
}
