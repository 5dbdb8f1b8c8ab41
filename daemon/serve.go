package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/paraxial/paraxial/control"
)

// serve runs all servers and loops until ctx is done, one of them fails, or the filter is
// detached on request.
func (d *Daemon) serve(ctx context.Context, o Options) error {
	cfg := d.settings()
	socket, err := control.Listen(cfg.Socket, cfg.SocketGroup)
	if err != nil {
		return err
	}
	var web net.Listener
	if cfg.Metrics != "" {
		web = d.openMetrics(cfg)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var running sync.WaitGroup
	run := func(what string, f func(context.Context) error) {
		running.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				stop(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	server := control.NewServer(d, control.Options{Log: d.log})
	run("serve the control socket", func(ctx context.Context) error { return server.Serve(ctx, socket) })
	if cfg.Metrics != "" {
		running.Go(func() { d.serveMetrics(ctx, web) })
	}
	run("read drop events", d.relayDrops)
	manager := &service{notify: o.Notify, watchdog: o.Watchdog}
	manager.status(d.summary())
	running.Go(func() { d.feedWatchdog(ctx, manager) })
	running.Go(func() { d.tellStatus(ctx, manager) })
	running.Go(func() { d.housekeep(ctx) })
	running.Go(func() { d.attend(ctx, socket) })
	running.Go(func() { d.detect(ctx) })
	running.Go(func() { d.keepSpared(ctx) })
	run("watch interfaces", d.watchInterfaces)
	run("watch addresses and routes", d.watchAddresses)
	run("watch servers and tunnels", d.watchServers)
	running.Go(func() { d.followReloads(ctx, o) })

	o.Notify("READY=1")
	d.log.Info("ready", "socket", cfg.Socket, "metrics", cfg.Metrics)
	select {
	case <-ctx.Done():
	case <-d.detached:
		stop(nil)
	}
	o.Notify("STOPPING=1")
	running.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return errors.Join(d.removePins(), d.saveOffenders(), d.store.Checkpoint(d.engine.Reading()))
}
