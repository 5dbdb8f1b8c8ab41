// Package daemon is paraxiald. It connects the other packages, keeps the filter on the
// interfaces, runs the detectors, and answers requests on the control socket.
package daemon

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control/broadcast"
	"github.com/paraxial/paraxial/control/wire"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/guard"
	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/ladder/journal"
	"github.com/paraxial/paraxial/ladder/offenders"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/metrics"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/sdnotify"
	"github.com/paraxial/paraxial/store"
	"github.com/paraxial/paraxial/tags"
	"github.com/paraxial/paraxial/warnings"
)

// StoreFile is the name of the store's file in the state directory.
const StoreFile = "state.db"

// Options are what the command line and the process give to the daemon.
type Options struct {
	Version string
	Log     *slog.Logger
	Level   *slog.LevelVar                // set by a reload
	Load    func() (config.Config, error) // reads the configuration again
	Reload  <-chan struct{}               // asks for a reload
	Notify  func(state string)            // tells the service manager

	// Watchdog is how long the service manager waits for a ping; 0 if it expects none.
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
	capacity  func() map[string]int // the number of elements that each map can hold
	guard     *guard.Reader
	engine    *engine.Engine
	nics      *nics
	wire      *wire.Converter
	broadcast *broadcast.Broadcast
	detection *detection
	ruling    *ruling
	ladder    atomic.Pointer[ladder.Ladder] // of the configuration in force
	offenders *offenders.File
	detecting sdnotify.Pulse // progress of the detectors' loop
	judging   sdnotify.Pulse // progress of the rules' loop
	attending sdnotify.Pulse // progress of the loop that checks interfaces and sockets
	sweeping  sdnotify.Pulse // progress of housekeep
	enforcer  *enforcer
	reporting *reporting
	tags      *tags.Board
	replies   *replies
	warnings  warnings.Board
	disk      warnings.Problem // why the last checkpoint failed
	saves     warnings.Saves

	socketProblems map[string]string // why a socket, by path, cannot be created again; used by attend only
	sweepProblem   string            // why expired entries cannot be removed; used by housekeep only
	fullTold       bool              // the log says that a map is full; used by tellStatus only

	metrics  *metrics.Collector
	detached chan struct{} // closed when the filter was detached on request
	detach   sync.Once
}

// settings returns the configuration in force.
func (d *Daemon) settings() config.Config { return *d.cfg.Load() }

// Run starts the daemon and serves until ctx is done, or until the filter is
// detached on request. The filter stays in place when it returns, and on errors.
func Run(ctx context.Context, cfg config.Config, o Options) error {
	d, err := open(cfg, o)
	if err != nil {
		return err
	}
	defer d.close()
	manager := sdnotify.New(o.Notify, o.Watchdog)
	if err := d.start(ctx, manager.Status); err != nil {
		return err
	}
	return d.serve(ctx, o, manager)
}

// open opens the store and the maps. Their locks refuse a second daemon. It does not
// change the filter in force.
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
		BPFFS: cfg.BPFFS, MaxEntries: uint32(cfg.MaxEntries), TrackCapacity: uint32(cfg.Detection.Tracked),
		Tunnels: tunnelsOf(cfg.Tunnels), Log: o.Log,
	})
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	if err := l.SetEssential(cfg.Essential == config.EssentialOn); err != nil {
		return nil, errors.Join(err, l.Close(), st.Close())
	}
	d := &Daemon{
		log: o.Log, version: o.Version, started: time.Now().UTC().Truncate(time.Second),
		store: st, loader: l, capacity: l.Capacity, broadcast: broadcast.New(), detached: make(chan struct{}),
		offenders: offenders.In(cfg.StateDir), socketProblems: make(map[string]string),
	}
	d.cfg.Store(&cfg)
	d.guard = guard.NewReader(o.Log, func() config.Guard { return d.settings().Guard })
	d.metrics = metrics.New(d, metrics.Build{Version: o.Version, Revision: revision(), GoVersion: runtime.Version()})
	d.engine = engine.New(engine.Options{
		Log: o.Log, Clock: clock, Store: st, Kernel: l, Publisher: publisher{l},
		Room: policy.RoomFor(cfg.MaxEntries, int(l.HitCapacity())-1), DropCounts: l.HitCapacity(),
		Observe: d.metrics.ObserveApply,
		Saved:   func(err error) { d.saves.Note(d.log, d.settings().StateDir, err) },
	})
	d.tags = tags.New(filepath.Join(cfg.StateDir, setsFolder))
	d.replies = &replies{Daemon: d, set: l.SetReplyPorts}
	d.wire = &wire.Converter{Log: o.Log, Ledger: d.engine, Drops: l, Tags: d.tagsOf}
	d.enforcer = &enforcer{d: d}
	d.ruling = newRuling(d, o.Log)
	d.reporting = newReporting(d)
	d.detection = &detection{
		log: o.Log, journal: journal.New(o.Log, "detector"), accounts: l.Tracker(), host: d.enforcer,
		observe: d.metrics.ObserveTick,
	}
	d.nics = &nics{
		log: o.Log, loader: l, store: st, repair: func() config.Repair { return d.settings().Repair },
		replaced: make(map[string]time.Time), changed: d.broadcast.InterfaceChanged,
	}
	return d, nil
}

func (d *Daemon) close() {
	d.loader.SetEventCredit(0)
	d.engine.Close()
	if err := errors.Join(d.loader.Close(), d.store.Close(), d.guard.Close()); err != nil {
		d.log.Error("close", "error", err)
	}
}

// start fills the tries and then attaches, so that an interface is never
// switched to tries that are still being filled.
func (d *Daemon) start(ctx context.Context, status func(string)) error {
	begin := time.Now()
	status("loading entries")
	if err := d.engine.Fill(ctx, d.loader); err != nil {
		return err
	}
	d.replies.follow() // before the new program drops the first answer
	cfg := d.settings()
	if err := d.startDetection(cfg); err != nil {
		return err
	}
	if err := d.nics.attachAll(ctx, cfg, status); err != nil {
		return err
	}
	if err := d.detachOthers(cfg.Interfaces); err != nil {
		return err
	}
	if err := d.loader.Commit(); err != nil {
		return err
	}
	// The filter is in force. Nobody asks for what follows before the loops and sockets begin.
	d.loadTags(cfg)
	d.ruling.ready(cfg)
	logStart(d.log, d.nics.status(), time.Since(begin))
	return nil
}

// detachOthers detaches the filter from interfaces that an earlier run filtered and
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
