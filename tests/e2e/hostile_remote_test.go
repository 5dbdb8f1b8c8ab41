package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/tests/lab/frame"
)

func (h *host) syn(src netip.Addr) []byte {
	return h.wire.From(src).TCP(clientPort, 80, frame.SYN, nil)
}

// forgeSources floods with SYNs of forged sources, each of which exceeds the limit of the detector for
// a second.
func forgeSources(ctx context.Context, s *storm) {
	const sources, rounds, gap = 200, 100, 12 * time.Millisecond
	for group := 0; ctx.Err() == nil; group++ {
		var frames [][]byte
		for n := range sources {
			frames = append(frames, s.syn(ipv4(172, byte(16+group>>8&15), byte(group), byte(n))))
		}
		for range rounds {
			if err := s.wire.Send(frames...); err != nil || !pause(ctx, gap) {
				return
			}
		}
		s.note("forged sources", sources)
	}
}

// sendTagged sends from a blocked source with one to eight priority tags, which Linux removes.
func sendTagged(ctx context.Context, s *storm) {
	var frames [][]byte
	for _, kind := range []uint16{frame.Dot1Q, frame.Dot1AD} {
		p := s.wire.From(netip.MustParseAddr(taggedSource))
		for range 8 {
			p = p.VLAN(kind, 0)
			frames = append(frames, p.UDP(clientPort, serverPort, []byte("hello")))
		}
	}
	for pause(ctx, time.Millisecond) {
		if err := s.wire.Send(frames...); err != nil {
			return
		}
		s.note("tagged frames", len(frames))
	}
}

// connectSilently holds a TCP connection from sshSource to port 22 open, without a word, until stop is called.
// The source is an address of this host only while it connects, so that the guard does not take it
// for one.
func (s *storm) connectSilently() (stop func()) {
	s.Helper()
	lo, err := netlink.LinkByName("lo")
	check(s.T, err)
	address, err := netlink.ParseAddr(sshSource + "/32")
	check(s.T, err)
	check(s.T, netlink.AddrAdd(lo, address))
	l, err := net.Listen("tcp", net.JoinHostPort(s.wire.Addr4().String(), "22"))
	check(s.T, err)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(sshSource)}}
	c, err := d.DialContext(s.Context(), "tcp", l.Addr().String())
	check(s.T, err)
	check(s.T, netlink.AddrDel(lo, address))
	return func() { check(s.T, errors.Join(c.Close(), l.Close())) }
}

// flapRoutes is a router that learns up to 200,000 routes, and loses them all at once.
func flapRoutes(ctx context.Context, s *storm) {
	const name, routes = "routes0", 200_000
	for pause(ctx, 10*time.Millisecond) {
		err := learnRoutes(ctx, name, routes, func() { s.note("routes", 1) })
		if link, findErr := netlink.LinkByName(name); findErr == nil {
			err = errors.Join(err, netlink.LinkDel(link))
		}
		s.expect("the attacks can be carried out", err == nil, "routes: %v", err)
	}
}

func learnRoutes(ctx context.Context, name string, n int, learnt func()) error {
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		to := net.IPNet{IP: net.IPv4(20+byte(i>>16), byte(i>>8), byte(i), 0), Mask: net.CIDRMask(24, 32)}
		route := netlink.Route{LinkIndex: link.Attrs().Index, Dst: &to, Scope: netlink.SCOPE_LINK}
		if err := netlink.RouteAdd(&route); err != nil {
			return fmt.Errorf("add a route to %s: %w", &to, err)
		}
		learnt()
	}
	return nil
}
