package daemon

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/store"
)

// DetachOffline takes the filter off all interfaces while no daemon runs, and
// returns their names. It holds the daemon's lock meanwhile, so that none starts.
func DetachOffline(cfg config.Config) ([]string, error) {
	release, err := store.Hold(filepath.Join(cfg.StateDir, StoreFile))
	if err != nil {
		return nil, err
	}
	names, err := loader.DetachAll(cfg.BPFFS)
	return names, errors.Join(err, release())
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

// removePins takes the maps away as well if the filter was detached on request.
func (d *Daemon) removePins() error {
	select {
	case <-d.detached:
		return d.loader.DetachAll()
	default:
		return nil
	}
}
