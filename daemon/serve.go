package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/metrics"
)

// listen opens the control socket and the address for metrics. web is nil if metrics are
// not configured.
func listen(cfg config.Config) (socket *control.Listener, web net.Listener, err error) {
	socket, err = control.Listen(cfg.Socket, cfg.SocketGroup)
	if err != nil || cfg.Metrics == "" {
		return socket, nil, err
	}
	if web, err = net.Listen("tcp", cfg.Metrics); err != nil {
		err = fmt.Errorf("serve metrics: %w; set metrics: in the configuration or --metrics to a free address, "+
			"or to off", err)
		return nil, nil, errors.Join(err, socket.Close())
	}
	return socket, web, nil
}

// serve runs all servers and loops until ctx is done, one of them fails, or the filter is
// detached on request.
func (d *Daemon) serve(ctx context.Context, o Options) error {
	cfg := d.settings()
	socket, web, err := listen(cfg)
	if err != nil {
		return err
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
	if web != nil {
		run("serve metrics", func(ctx context.Context) error { return d.serveMetrics(ctx, web) })
	}
	run("read drop events", d.relayDrops)
	manager := &service{notify: o.Notify, watchdog: o.Watchdog}
	manager.status(d.summary())
	running.Go(func() { d.housekeep(ctx, manager) })
	running.Go(func() { d.attend(ctx, socket) })
	running.Go(func() { d.detect(ctx) })
	running.Go(func() { d.keepSpared(ctx) })
	run("watch interfaces", d.watchInterfaces)
	run("watch addresses and routes", d.watchAddresses)
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

// serveMetrics serves Prometheus until ctx is done.
func (d *Daemon) serveMetrics(ctx context.Context, l net.Listener) error {
	handler, err := metrics.Handler(d.metrics, slog.NewLogLogger(d.log.Handler(), slog.LevelError))
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		WriteTimeout:      30 * time.Second,
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: %w", l.Addr(), err)
	}
	return nil
}
