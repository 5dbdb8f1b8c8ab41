package lab

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const peerName = "peer"

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

func (w *Wire) addLinks(queues int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.NumTxQueues, attrs.NumRxQueues = queues, queues
	attrs.Name = w.Host
	attrs.HardwareAddr = net.HardwareAddr(hostMAC[:])
	err := netlink.LinkAdd(&netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         peerName,
		PeerHardwareAddr: net.HardwareAddr(peerMAC[:]),
		PeerNamespace:    netlink.NsFd(int(w.peer)),
	})
	if err != nil {
		return fmt.Errorf("add veth pair: %w", err)
	}
	if w.link, err = netlink.LinkByName(w.Host); err != nil {
		return fmt.Errorf("find host end: %w", err)
	}
	peer, err := w.remote.LinkByName(peerName)
	if err != nil {
		return fmt.Errorf("find peer end: %w", err)
	}
	if err := w.remote.LinkSetARPOff(peer); err != nil {
		return fmt.Errorf("turn ARP off at the peer end: %w", err)
	}
	if err := w.remote.LinkSetUp(peer); err != nil {
		return fmt.Errorf("set peer end up: %w", err)
	}
	return nil
}

// configureHost makes the host end answer any source: addresses that are usable at once, default
// routes through the peer with a permanent neighbour entry, and no check that a source is
// plausible.
func (w *Wire) configureHost() error {
	for _, s := range [][2]string{
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/ipv4/conf/" + w.Host + "/rp_filter", "0"},
		{"net/ipv6/conf/" + w.Host + "/accept_ra", "0"},
		{"net/ipv6/conf/" + w.Host + "/addr_gen_mode", "1"},
	} {
		if err := sysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(w.link); err != nil {
		return fmt.Errorf("set host end up: %w", err)
	}
	for _, e := range []struct {
		prefix  netip.Prefix
		gateway netip.Addr
	}{{hostPrefix4, peerAddr4}, {hostPrefix6, peerAddr6}} {
		if err := w.route(e.prefix, e.gateway); err != nil {
			return err
		}
	}
	return nil
}

// waitLocal waits until the kernel delivers packets to an address. The kernel adds an IPv6 route in
// the background, after it has noticed that the link is up.
func waitLocal(addr netip.Addr) error {
	const patience = time.Minute
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		routes, err := netlink.RouteGet(addr.AsSlice())
		if err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("no local route to %s after %s: %v, error %v", addr, patience, routes, err)
		}
	}
}

func (w *Wire) route(prefix netip.Prefix, gateway netip.Addr) error {
	index := w.link.Attrs().Index
	family := unix.AF_INET
	if prefix.Addr().Is6() {
		family = unix.AF_INET6
	}
	err := netlink.AddrAdd(w.link, &netlink.Addr{
		IPNet: &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())},
		Flags: unix.IFA_F_NODAD,
	})
	if err != nil {
		return fmt.Errorf("add address %s: %w", prefix, err)
	}
	if err := waitLocal(prefix.Addr()); err != nil {
		return err
	}
	err = netlink.NeighSet(&netlink.Neigh{
		LinkIndex: index, Family: family, State: netlink.NUD_PERMANENT,
		IP: gateway.AsSlice(), HardwareAddr: net.HardwareAddr(peerMAC[:]),
	})
	if err != nil {
		return fmt.Errorf("add neighbour %s: %w", gateway, err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: index, Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("add default route via %s: %w", gateway, err)
	}
	return nil
}
