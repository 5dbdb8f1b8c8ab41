// Package probe gathers the facts that doctor judges. It changes nothing. It works
// for any user, and names the facts that this user may not see.
package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/doctor"
)

// Options of Gather.
type Options struct {
	// Interfaces to examine. If empty: those of Filtered, those of default routes,
	// and those with an XDP program. If there are none either: those that are up.
	Interfaces []string
	// Filtered are the interfaces that the daemon filters.
	Filtered []string
	PID      int // of the daemon; 0: none runs
	StateDir string
	BPFFS    string // where the daemon pins
}

// Gather examines the host. It fails if it cannot list the interfaces, or if one
// that was asked for does not exist. All else that it cannot read is in Unseen.
func Gather(o Options) (doctor.Facts, error) {
	g := &gatherer{options: o}
	g.host()
	if o.PID > 0 {
		g.facts.Daemon.Capabilities, g.facts.Daemon.Memlock = process(o.PID)
	}
	if os.Geteuid() == 0 {
		g.facts.Root, _ = process(os.Getpid())
	}
	if err := g.interfaces(); err != nil {
		return doctor.Facts{}, err
	}
	return g.facts, nil
}

type gatherer struct {
	options Options
	facts   doctor.Facts
	names   map[int]netlink.Link // all interfaces, by index
}

// unseen records a fact that could not be read, unless it does not exist.
func (g *gatherer) unseen(what string, err error) {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return
	}
	cause := err.Error()
	if errors.Is(err, fs.ErrPermission) {
		cause = "only root may"
		if os.Geteuid() == 0 {
			cause = "not permitted here"
		}
	}
	u := doctor.Unseen{What: what, Cause: cause}
	for _, seen := range g.facts.Unseen {
		if seen == u {
			return
		}
	}
	g.facts.Unseen = append(g.facts.Unseen, u)
}

func (g *gatherer) interfaces() error {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list interfaces: %w", err)
	}
	g.names = make(map[int]netlink.Link, len(links))
	byName := make(map[string]netlink.Link, len(links))
	for _, l := range links {
		g.names[l.Attrs().Index] = l
		byName[l.Attrs().Name] = l
	}
	g.facts.Host.Tunnels = tunnels(links)
	wanted, err := g.wanted(links, byName)
	if err != nil {
		return err
	}
	for _, l := range wanted {
		g.facts.Interfaces = append(g.facts.Interfaces, g.nic(l))
	}
	return nil
}

// wanted returns the interfaces to examine, in the order of the kernel.
func (g *gatherer) wanted(links []netlink.Link, byName map[string]netlink.Link) ([]netlink.Link, error) {
	pick := make(map[string]bool)
	for _, name := range g.options.Interfaces {
		if byName[name] == nil {
			return nil, fmt.Errorf("no interface %q: `ip link` lists the interfaces", name)
		}
		pick[name] = true
	}
	if len(pick) == 0 {
		g.interesting(links, pick)
	}
	var wanted []netlink.Link
	for _, l := range links {
		if pick[l.Attrs().Name] {
			wanted = append(wanted, l)
		}
	}
	return wanted, nil
}

// interesting picks the interfaces to examine if none was asked for.
func (g *gatherer) interesting(links []netlink.Link, pick map[string]bool) {
	for _, name := range g.options.Filtered {
		pick[name] = true
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	g.unseen("the routes", err)
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		for _, index := range hops(r) {
			if l := g.names[index]; l != nil {
				pick[l.Attrs().Name] = true
			}
		}
	}
	for _, l := range links {
		if x := l.Attrs().Xdp; x != nil && x.Attached {
			pick[l.Attrs().Name] = true
		}
	}
	if len(pick) > 0 {
		return
	}
	for _, l := range links {
		if isUp(l) && !isLoopback(l) {
			pick[l.Attrs().Name] = true
		}
	}
}

func hops(r netlink.Route) []int {
	indexes := []int{r.LinkIndex}
	for _, h := range r.MultiPath {
		indexes = append(indexes, h.LinkIndex)
	}
	return indexes
}

// tunnels returns the interfaces that are up and take packets out of other packets. PPP is not among
// them: the program looks into PPPoE.
func tunnels(links []netlink.Link) []doctor.Tunnel {
	var all []doctor.Tunnel
	for _, l := range links {
		is := false
		switch l := l.(type) {
		case *netlink.Gretun, *netlink.Gretap, *netlink.Iptun, *netlink.Ip6tnl, *netlink.Sittun, *netlink.Vti,
			*netlink.Xfrmi, *netlink.Vxlan, *netlink.Geneve, *netlink.Wireguard:
			is = true
		case *netlink.Tuntap: // a tap usually belongs to a virtual machine
			is = l.Mode == netlink.TUNTAP_MODE_TUN
		}
		if is && isUp(l) {
			all = append(all, doctor.Tunnel{Name: l.Attrs().Name, Kind: l.Type()})
		}
	}
	return all
}
