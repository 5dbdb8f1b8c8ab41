package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/sdnotify"
)

// tasks are the servers and loops of a running daemon.
type tasks struct {
	sync.WaitGroup
	ctx  context.Context
	stop context.CancelCauseFunc
}

// must runs f, whose failure ends all tasks. what names f in the error.
func (t *tasks) must(what string, f func(context.Context) error) {
	t.Go(func() {
		if err := f(t.ctx); err != nil && t.ctx.Err() == nil {
			t.stop(fmt.Errorf("%s: %w", what, err))
		}
	})
}

// may runs f, which has no failure that ends the others.
func (t *tasks) may(f func(context.Context)) { t.Go(func() { f(t.ctx) }) }

// serve runs all servers and loops until ctx is done, one of them fails, or the filter is
// detached on request.
func (d *Daemon) serve(ctx context.Context, o Options, manager *sdnotify.Manager) error {
	cfg := d.settings()
	sockets, err := d.listen(cfg)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	running := &tasks{ctx: ctx, stop: stop}
	d.runServers(running, cfg, sockets)
	manager.Status(d.summary())
	d.runLoops(running, sockets, o, manager)

	manager.Ready()
	d.log.Info("ready", "socket", cfg.Socket, "metrics", cfg.Metrics)
	select {
	case <-ctx.Done():
	case <-d.detached:
		stop(nil)
	}
	manager.Stopping()
	running.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return errors.Join(d.removePins(), d.saveOffenders(), d.store.Checkpoint(d.engine.Reading()))
}

// runServers runs the servers for the API, for reporters and for the metrics.
func (d *Daemon) runServers(t *tasks, cfg config.Config, sockets []*control.Listener) {
	if cfg.Metrics != "" {
		web := d.metricsServer(cfg)
		web.Listen()
		t.may(web.Run)
	}
	reports := &reportSocket{reporting: d.reporting, path: cfg.Reports.Socket}
	reports.adjust(t.ctx)
	t.may(reports.run)
	proven := &blocklistSocket{reporting: d.reporting, path: cfg.Reports.BlocklistSocket}
	proven.adjust(t.ctx)
	t.may(proven.run)
	server := control.NewServer(d, control.Options{Log: d.log})
	listeners := make([]net.Listener, len(sockets))
	for i, l := range sockets {
		listeners[i] = l
	}
	t.must("serve the control socket", func(ctx context.Context) error { return server.Serve(ctx, listeners...) })
}

// runLoops runs the loops that watch and act.
func (d *Daemon) runLoops(t *tasks, sockets []*control.Listener, o Options, manager *sdnotify.Manager) {
	t.must("read drop events", d.relayDrops)
	t.must("watch interfaces", d.watchInterfaces)
	t.must("watch addresses and routes", d.watchAddresses)
	t.must("watch servers and tunnels", d.watchServers)
	t.may(func(ctx context.Context) { manager.Feed(ctx, d.log, d.loops()) })
	t.may(func(ctx context.Context) { d.tellStatus(ctx, manager) })
	t.may(func(ctx context.Context) { d.attend(ctx, sockets) })
	t.may(func(ctx context.Context) { d.followReloads(ctx, o, manager) })
	t.may(d.housekeep)
	t.may(d.detect)
	t.may(d.ruling.run)
	t.may(d.keepSpared)
}

// loops returns the loops that the watchdog follows.
func (d *Daemon) loops() []sdnotify.Loop {
	return []sdnotify.Loop{
		{Name: "interfaces", Pulse: &d.attending},
		{Name: "detectors", Pulse: &d.detecting, Waits: true},
		{Name: "rules", Pulse: &d.judging, Waits: true},
		{Name: "expiry", Pulse: &d.sweeping, Waits: true},
	}
}
