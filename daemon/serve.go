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

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/metrics"
)

// serve runs everything that goes on until the end.
func (d *Daemon) serve(ctx context.Context, o Options) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	cfg := d.settings()
	socket, err := control.Listen(cfg.Socket, cfg.SocketGroup)
	if err != nil {
		return err
	}
	var web net.Listener
	if cfg.Metrics != "" {
		if web, err = net.Listen("tcp", cfg.Metrics); err != nil {
			return errors.Join(fmt.Errorf("serve metrics: %w; set metrics: in the configuration or --metrics to a free address, or to off", err), socket.Close())
		}
	}
	var running sync.WaitGroup
	run := func(what string, f func(context.Context) error) {
		running.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				stop(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	run("serve the control socket", func(ctx context.Context) error {
		return control.NewServer(d, control.Options{Log: d.log}).Serve(ctx, socket)
	})
	if web != nil {
		run("serve metrics", func(ctx context.Context) error { return d.serveMetrics(ctx, web) })
	}
	run("read drop events", d.relayDrops)
	manager := &service{notify: o.Notify, watchdog: o.Watchdog}
	manager.status(d.summary())
	running.Go(func() { d.housekeep(ctx, manager) })
	running.Go(func() { d.attend(ctx, socket) })
	running.Go(func() { d.detect(ctx) })
	run("watch interfaces", func(ctx context.Context) error {
		return hostinfo.WatchLinks(ctx, func() { d.nics.attest(ctx) })
	})
	run("watch addresses and routes", func(ctx context.Context) error {
		return hostinfo.Watch(ctx, func() { d.recheckGuard(ctx) })
	})
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
