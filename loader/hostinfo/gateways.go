package hostinfo

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// fewRoutes is a number of routes that are read in less than a few milliseconds.
	fewRoutes = 5000
	// forgetEvery is the shortest time between two readings of more routes than that.
	forgetEvery = time.Minute
	// announcedMost is the size of the receive buffer for announcements, in bytes.
	announcedMost = 4 << 20
)

// nextHop is a gateway, with the index of its interface.
type nextHop struct {
	addr  netip.Addr
	index int
}

type nextHops map[nextHop]bool

// gateways keeps the gateways of all routes. A router may have a million routes, so they are not
// read for each request. The kernel announces a change before it acknowledges it. So after the
// announcements that wait are read, the gateways of all routes added until then are known.
//
// Removed routes are another matter: the kernel announces only some of them, and another route
// may have the same gateway. So all routes are read again after any change: at once if they are
// few, otherwise in the background. Until then a removed gateway is returned, too.
type gateways struct {
	mu      sync.Mutex
	buffer  []byte   // for announcements
	fd      int      // of the socket for announcements; 0 if it is not open
	hops    nextHops // nil before the first reading
	routes  int      // at the last reading
	changed bool     // since the last reading began
	read    time.Time
	fresh   nextHops // added while routes are read in the background; nil if they are not

	announcements announcements // received so far

	messages int // of the kernel about routes that were received, for tests
}

// announcements are numbers of announcements of the kernel, by what changed.
type announcements struct {
	links, addrs uint64
	all          uint64 // those of routes and rules, too
}

// announced takes over the announcements that wait, and returns how many there were so far.
func (g *gateways) announced() (announcements, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := g.listen()
	return g.announcements, err
}

// list returns the gateways of all tables, including those from router advertisements.
func (g *gateways) list(names map[int]string) ([]Gateway, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.update(); err != nil {
		return nil, err
	}
	gws := make([]Gateway, 0, len(g.hops))
	for hop := range g.hops {
		gws = append(gws, Gateway{hop.addr, names[hop.index]})
	}
	slices.SortFunc(gws, func(a, b Gateway) int { return a.Addr.Compare(b.Addr) })
	return slices.Compact(gws), nil
}

func (g *gateways) update() error {
	if err := g.listen(); err != nil {
		return err
	}
	switch {
	case g.hops == nil || g.changed && g.routes <= fewRoutes:
		g.changed, g.read = false, time.Now()
		hops, routes, messages, err := readRoutes()
		g.messages += messages
		if err != nil {
			g.hops = nil
			return err
		}
		g.hops, g.routes = hops, routes
	case g.changed && g.fresh == nil && time.Since(g.read) > forgetEvery:
		g.changed, g.read, g.fresh = false, time.Now(), make(nextHops)
		go g.readAgain()
	}
	return nil
}

// listen takes over the announcements that wait. If some may be missing, everything counts as
// changed.
func (g *gateways) listen() error {
	missed, err := g.fd == 0, error(nil)
	if missed {
		err = g.subscribe()
	}
	if err == nil {
		var lost bool
		lost, err = g.drain()
		missed = missed || lost || err != nil
	}
	if missed {
		g.hops = nil
		g.announcements.links++
		g.announcements.addrs++
		g.announcements.all++
	}
	if err != nil {
		return fmt.Errorf("watch the network: %w", err)
	}
	return nil
}

// readAgain reads all routes, while list returns the gateways known before and those added.
func (g *gateways) readAgain() {
	hops, routes, messages, err := readRoutes()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.messages += messages
	if err == nil && g.hops != nil {
		maps.Copy(hops, g.fresh)
		g.hops, g.routes = hops, routes
	} else {
		g.changed = true
	}
	g.fresh = nil
}

// subscribe has the kernel announce everything that may add or remove a route.
func (g *gateways) subscribe() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups(unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_NEXTHOP, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)})
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	// A smaller buffer overruns earlier, and then all routes are read again.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, announcedMost)
	g.fd, g.hops = fd, nil
	return nil
}

func groups(numbers ...uint) (mask uint32) {
	for _, n := range numbers {
		mask |= 1 << (n - 1)
	}
	return mask
}

// close ends the subscription.
func (g *gateways) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fd == 0 {
		return nil
	}
	fd := g.fd
	g.fd, g.hops = 0, nil
	return unix.Close(fd)
}

// drain reads all announcements that wait. lost means that some are missing.
func (g *gateways) drain() (lost bool, err error) {
	if g.buffer == nil {
		g.buffer = make([]byte, nl.RECEIVE_BUFFER_SIZE)
	}
	for {
		n, _, err := unix.Recvfrom(g.fd, g.buffer, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return lost, nil
		case errors.Is(err, unix.ENOBUFS):
			lost = true
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return lost, err
		}
		messages, err := syscall.ParseNetlinkMessage(g.buffer[:n])
		if err != nil {
			return lost, err
		}
		for _, m := range messages {
			lost = g.note(m) || lost
		}
	}
}

// note takes over an announcement. It returns true if only a new reading shows the gateways.
func (g *gateways) note(m syscall.NetlinkMessage) (lost bool) {
	g.changed = true
	g.announcements.all++
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		g.announcements.links++
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		g.announcements.addrs++
	case unix.RTM_NEWNEXTHOP:
		return true // the gateway of an existing route may have changed
	case unix.RTM_NEWROUTE:
		g.messages++
		added := make(nextHops)
		if err := added.add(m.Data); err != nil {
			return true
		}
		for _, known := range []nextHops{g.hops, g.fresh} {
			if known != nil {
				maps.Copy(known, added)
			}
		}
	}
	return false
}

// readRoutes reads all routes.
func readRoutes() (hops nextHops, routes, messages int, err error) {
	hops = make(nextHops)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		// An interrupted reading has all routes that did not change meanwhile, and the kernel
		// announces those that did. So the last attempt counts even if it was interrupted: on
		// a router, routes may change all the time.
		read := 0
		for range dumpTries {
			read, err = hops.addFamily(family)
			messages += read
			if !errors.Is(err, netlink.ErrDumpInterrupted) {
				break
			}
		}
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, 0, messages, fmt.Errorf("read routes: %w", err)
		}
		routes += read
	}
	return hops, routes, messages, nil
}

// addFamily adds the gateways of all routes of a family. It returns the number of routes.
func (h nextHops) addFamily(family int) (routes int, err error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
	req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(family)}})
	var parseErr error
	err = req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE, func(m []byte) bool {
		routes++
		parseErr = errors.Join(parseErr, h.add(m))
		return true
	})
	if parseErr != nil {
		return routes, parseErr
	}
	return routes, err
}

// add adds the gateways of a route. The next hop of an IPv4 route may be an IPv6 address.
func (h nextHops) add(route []byte) error {
	if len(route) < unix.SizeofRtMsg {
		return fmt.Errorf("route message of %d bytes, want %d", len(route), unix.SizeofRtMsg)
	}
	attrs, err := nl.ParseRouteAttr(route[unix.SizeofRtMsg:])
	if err != nil {
		return err
	}
	index := 0
	for _, a := range attrs {
		if a.Attr.Type == unix.RTA_OIF {
			index = int(nl.NativeEndian().Uint32(a.Value))
		}
	}
	return h.addAttributes(attrs, index)
}

func (h nextHops) addAttributes(attrs []syscall.NetlinkRouteAttr, index int) error {
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.RTA_GATEWAY:
			h.addHop(a.Value, index)
		case unix.RTA_VIA:
			const family = 2 // struct rtvia: the family before the address
			h.addHop(a.Value[min(family, len(a.Value)):], index)
		case unix.RTA_MULTIPATH:
			if err := h.addMultipath(a.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// addMultipath reads records of struct rtnexthop, each with attributes of its own.
func (h nextHops) addMultipath(b []byte) error {
	for len(b) >= unix.SizeofRtNexthop {
		length := int(nl.NativeEndian().Uint16(b))
		if length < unix.SizeofRtNexthop || length > len(b) {
			return fmt.Errorf("next hop of %d bytes in %d", length, len(b))
		}
		attrs, err := nl.ParseRouteAttr(b[unix.SizeofRtNexthop:length])
		if err != nil {
			return err
		}
		if err := h.addAttributes(attrs, int(nl.NativeEndian().Uint32(b[4:]))); err != nil {
			return err
		}
		b = b[min((length+3)&^3, len(b)):]
	}
	return nil
}

func (h nextHops) addHop(address []byte, index int) {
	if addr, ok := toAddr(net.IP(address)); ok {
		h[nextHop{addr, index}] = true
	}
}
