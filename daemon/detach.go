package daemon

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/store"
)

// detachWait gives a daemon that is just exiting the time to finish.
const detachWait = time.Second

// exitWait gives a daemon that was told to detach the time to remove its pins.
const exitWait = 30 * time.Second

// DetachOffline takes the filter off all interfaces while no daemon runs, and
// returns their names. It holds the daemon's lock meanwhile, so that none starts.
func DetachOffline(cfg config.Config, log *slog.Logger) ([]string, error) {
	release, err := store.Hold(filepath.Join(cfg.StateDir, StoreFile))
	if err != nil {
		return nil, err
	}
	names, err := loader.DetachAll(cfg.BPFFS, detachWait, log)
	return names, errors.Join(err, release())
}

// Detach implements control.Backend. It detaches the filter from all interfaces and ends
// the daemon, which would otherwise attach it again.
func (d *Daemon) Detach(_ context.Context, c control.Caller) error {
	d.log.Warn("the filter is detached on request", "caller", c.Author())
	for _, n := range d.nics.list() {
		if err := d.nics.drop(n.name); err != nil {
			return err
		}
	}
	d.detach.Do(func() { close(d.detached) })
	return nil
}

// DetachEverywhere takes the filter off all interfaces of all filters whose pins are on a
// mounted BPF file system, and returns their names. It needs no configuration. told is
// whether a daemon was told to detach and may still be exiting.
func DetachEverywhere(told bool, log *slog.Logger) ([]string, error) {
	dirs, err := loader.FindPins()
	wait := detachWait
	if told {
		wait = exitWait
	}
	var all []string
	errs := []error{err}
	for _, dir := range dirs {
		names, err := loader.DetachAll(dir, wait, log)
		all = append(all, names...)
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}

// removePins also removes the pinned maps if the filter was detached on request.
func (d *Daemon) removePins() error {
	select {
	case <-d.detached:
		return d.loader.DetachAll()
	default:
		return nil
	}
}
