// Package daemon is paraxiald: it wires the rooms together, keeps them in step,
// and answers the control socket.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/metrics"
	"github.com/paraxial/paraxial/store"
)

// StoreFile is the name of the book in the state directory.
const StoreFile = "state.db"

// Options are what the daemon gets from its command line and process.
type Options struct {
	Version string
	Log     *slog.Logger
	Level   *slog.LevelVar                // set by a reload
	Load    func() (config.Config, error) // reads the configuration again
	Reload  <-chan struct{}               // asks for a reload
	Notify  func(state string)            // tells the service manager

	// How long the service manager puts up with hearing nothing; 0 if for ever.
	Watchdog time.Duration
}

// Daemon is a running paraxiald. It implements control.Backend.
type Daemon struct {
	log       *slog.Logger
	version   string
	started   time.Time
	cfg       atomic.Pointer[config.Config]
	store     *store.Store
	loader    *loader.Loader
	drops     dropCounters
	facts     factReader
	engine    *engine.Engine
	nics      *nics
	broadcast *broadcast
	detection *detection
	offenders *offenderStore
	detecting pulse // of the detectors' loop
	attending pulse // of the loop that looks after interfaces and the socket
	enforcer  *enforcer
	warnings  warnings

	socketProblem string // why the socket could not be put back; of attend alone
	sweepProblem  string // why expired entries could not be removed; of housekeep alone

	metrics  *metrics.Collector
	detached chan struct{} // closed once the filter was taken off on request
	detach   sync.Once
}

func (d *Daemon) settings() config.Config { return *d.cfg.Load() }

// dropCounters are the kernel's counters of drops, by the IDs of the book.
type dropCounters interface {
	Hits(id uint32) uint64
	// Sampled returns how many drops were attributed by sampling.
	Sampled() (uint64, error)
}

// Run starts the daemon and serves until ctx is done, or until the filter is
// detached on request. The filter stays in place when it returns, and on errors.
func Run(ctx context.Context, cfg config.Config, o Options) error {
	d, err := open(cfg, o)
	if err != nil {
		return err
	}
	defer d.close()
	if err := d.start(ctx, o.Notify); err != nil {
		return err
	}
	return d.serve(ctx, o)
}

// open takes the state directory, and with it the right to be the only daemon,
// and the maps. It changes nothing that runs.
func open(cfg config.Config, o Options) (*Daemon, error) {
	clock, err := engine.NewClock()
	if err != nil {
		return nil, err
	}
	st, err := store.Open(filepath.Join(cfg.StateDir, StoreFile), clock.Reading())
	if err != nil {
		return nil, err
	}
	l, err := loader.Open(loader.Options{
		BPFFS: cfg.BPFFS, MaxEntries: uint32(cfg.MaxEntries), TrackCapacity: uint32(cfg.Detection.Tracked), Log: o.Log,
	})
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	d := &Daemon{
		log: o.Log, version: o.Version, started: time.Now().UTC().Truncate(time.Second),
		store: st, loader: l, drops: l, broadcast: newBroadcast(), detached: make(chan struct{}),
		offenders: &offenderStore{path: filepath.Join(cfg.StateDir, offendersFile)},
	}
	d.cfg.Store(&cfg)
	d.facts.read = d.protected
	d.metrics = metrics.New(d, metrics.Build{Version: o.Version, Revision: revision(), GoVersion: runtime.Version()})
	d.engine = engine.New(engine.Options{
		Log: o.Log, Clock: clock, Store: st, Kernel: l, Publisher: publisher{l},
		MaxEntries: cfg.MaxEntries, DropCounts: l.HitCapacity(), Observe: d.metrics.ObserveApply,
	})
	d.enforcer = &enforcer{d: d}
	d.detection = &detection{log: o.Log, accounts: l.Tracker(), host: d.enforcer, observe: d.metrics.ObserveTick}
	d.nics = &nics{
		log: o.Log, loader: l, store: st, repair: func() config.Repair { return d.settings().Repair },
		replaced: make(map[string]time.Time), changed: d.interfaceChanged,
	}
	return d, nil
}

func (d *Daemon) close() {
	d.loader.SetEventCredit(0)
	d.engine.Close()
	if err := errors.Join(d.loader.Close(), d.store.Close()); err != nil {
		d.log.Error("close", "error", err)
	}
}

// start fills the tries and then attaches, so that an interface is never
// switched to tries that are still being filled.
func (d *Daemon) start(ctx context.Context, notify func(string)) error {
	begin := time.Now()
	notify("STATUS=loading entries")
	if err := d.engine.Fill(ctx, d.loader); err != nil {
		return err
	}
	cfg := d.settings()
	if err := d.startDetection(cfg); err != nil {
		return err
	}
	if err := d.attachAll(ctx, cfg, notify); err != nil {
		return err
	}
	if err := d.detachOthers(cfg.Interfaces); err != nil {
		return err
	}
	if err := d.loader.Commit(); err != nil {
		return err
	}
	d.log.Info("filter in force", "took", time.Since(begin).Round(time.Millisecond))
	return nil
}

// detachOthers takes the filter off interfaces that an earlier run filtered and
// that are no longer configured.
func (d *Daemon) detachOthers(configured []config.Interface) error {
	pinned, err := d.loader.Interfaces()
	if err != nil {
		return err
	}
	keep := make(map[string]bool)
	for _, i := range configured {
		keep[i.Name] = true
	}
	for _, name := range pinned {
		if keep[name] {
			continue
		}
		if err := d.nics.drop(name); err != nil {
			return err
		}
	}
	return nil
}

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

// Detach implements control.Backend: it takes the filter off and ends the
// daemon, which would otherwise put it back.
func (d *Daemon) Detach(_ context.Context, c control.Caller) error {
	d.log.Warn("filter is taken off on request", "caller", c.Author())
	for _, n := range d.nics.list() {
		if err := d.nics.drop(n.name); err != nil {
			return err
		}
	}
	d.detach.Do(func() { close(d.detached) })
	return nil
}

func (d *Daemon) interfaceChanged(s control.InterfaceStatus) {
	d.broadcast.send(control.Event{Type: control.EventInterface, Interface: &s})
}

// revision returns the commit that the binary was built from, if it is known.
func revision() string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
