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

// DetachOffline detaches the filter from all interfaces while no daemon runs, and
// returns their names. It holds the daemon's lock meanwhile, so that no daemon starts.
func DetachOffline(cfg config.Config) ([]string, error) {
	release, err := store.Hold(filepath.Join(cfg.StateDir, StoreFile))
	if err != nil {
		return nil, err
	}
	names, err := loader.DetachAll(cfg.BPFFS)
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

// removePins also removes the pinned maps if the filter was detached on request.
func (d *Daemon) removePins() error {
	select {
	case <-d.detached:
		return d.loader.DetachAll()
	default:
		return nil
	}
}
