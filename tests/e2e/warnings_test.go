package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/control"
)

// warns waits until status has a warning with this text, or has none with it any more.
func (h *host) warns(want bool, text string) {
	h.Helper()
	h.within("a warning of "+text, patience, func() bool {
		return strings.Contains(strings.Join(ctlJSON[control.Status](h, "status").Warnings, "\n"), text) == want
	})
}

// A bridge that is filtered itself forwards packets between its ports past the filter.
func TestStatusWarnsOfBridge(t *testing.T) {
	h := newHost(t)
	h.addLink("port0")
	port, err := netlink.LinkByName("port0")
	check(t, err)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	check(t, netlink.LinkAdd(bridge))
	t.Cleanup(func() { netlink.LinkDel(bridge) })
	h.daemon.Interfaces = append(h.daemon.Interfaces, "br0")
	h.start()
	h.warns(false, "br0 is a bridge")
	check(t, netlink.LinkSetMaster(port, bridge))
	h.warns(true, "br0 is a bridge: packets that it forwards between its ports (port0) pass without the filter")
	check(t, netlink.LinkSetNoMaster(port))
	h.warns(false, "br0 is a bridge")
}

func TestStatusWarnsOfFullMap(t *testing.T) {
	h := newHost(t)
	h.configured("interfaces: [up0]\nmax_entries: 20\n")
	h.start()
	h.warns(false, "the map block_v4")
	next := netip.MustParseAddr("203.0.113.0")
	block := func() {
		h.ctl(0, "block", next.String())
		next = next.Next()
	}
	for range 18 {
		block()
	}
	h.warns(true, "the map block_v4 is 90% full (18 of 20)")
	h.logs("the map block_v4 is 95% full", func() {
		h.ctl(0, "unblock", "203.0.113.1")
		h.warns(false, "the map block_v4")
		block()
		block()
	})
}

// A flood of many sources opens the circuit breaker, and status says so.
func TestStatusWarnsOfBreaker(t *testing.T) {
	h := newHost(t, "--config", writeConfig(t, t.TempDir()+"/paraxiald.yaml",
		quickDetector+"detection: {breaker: {bans_per_minute: 2}}\n"))
	h.start()
	h.warns(false, "circuit breaker")
	for _, src := range []string{"198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"} {
		h.floodUntilBanned(netip.MustParseAddr(src), 2000, "udp-flood") // until the end of the test
	}
	h.warns(true, "the circuit breaker is open since ")
}
