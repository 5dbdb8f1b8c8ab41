package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader/hostinfo"
)

const (
	glanceInterval = 250 * time.Millisecond // between cheap checks of the links
	attestInterval = 2 * time.Second        // between full checks of interfaces and sockets
)

// attend checks the interfaces and the sockets until ctx is done. It never waits for other
// changes or for the disk, so the watchdog expects progress of it.
func (d *Daemon) attend(ctx context.Context, sockets []*control.Listener) {
	glance := time.NewTicker(glanceInterval)
	attest := time.NewTicker(attestInterval)
	defer glance.Stop()
	defer attest.Stop()
	for {
		d.attending.Beat()
		select {
		case <-ctx.Done():
			return
		case <-glance.C:
			d.nics.glance(ctx)
		case <-attest.C:
			d.nics.attest(ctx)
			for _, l := range sockets {
				d.keepSocket(l)
			}
		}
	}
}

// watchInterfaces checks the interfaces at once and after changes of interfaces, until ctx
// is done.
func (d *Daemon) watchInterfaces(ctx context.Context) error {
	return hostinfo.WatchLinks(ctx, func() { d.nics.attest(ctx) })
}

// watchAddresses checks the blocks at once and after changes of addresses, routes or
// interfaces, until ctx is done.
func (d *Daemon) watchAddresses(ctx context.Context) error {
	return hostinfo.Watch(ctx, func() {
		d.recheckGuard(ctx)
		d.recheckBridges()
	})
}

// watchServers checks the blocks after changes of servers and tunnels, until ctx is done.
func (d *Daemon) watchServers(ctx context.Context) error {
	return d.guard.WatchServers(ctx, func() { d.recheckGuard(ctx) })
}

// recheckBridges warns of interfaces that are bridges.
func (d *Daemon) recheckBridges() {
	var found []string
	for _, n := range d.nics.list() {
		ports, err := hostinfo.BridgePorts(n.name)
		if err != nil {
			d.log.Warn("cannot find out whether an interface is a bridge", "error", err)
		}
		if len(ports) > 0 {
			found = append(found, fmt.Sprintf("%s is a bridge: packets that it forwards between its ports (%s) pass "+
				"without the filter: filter the ports instead: paraxialctl doctor %s",
				n.name, strings.Join(ports, ", "), n.name))
		}
	}
	for _, w := range d.warnings.Set("bridges", found) {
		d.log.Warn(w)
	}
}
