package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/daemon"
	"github.com/paraxial/paraxial/loader"
)

// detach takes the filter off: through the daemon if one runs, which then ends,
// and by itself otherwise.
func detach(c *cli.Context) error {
	cfg, err := readFile(c)
	if err != nil {
		return err
	}
	if err := overlay(c, &cfg); err != nil {
		return err
	}
	err = control.NewClient(cfg.Socket).Detach(c.Context)
	switch {
	case err == nil:
		_, err = fmt.Fprintln(c.App.Writer, "detached: the daemon has taken the filter off all interfaces and stops")
		return err
	case !errors.Is(err, control.ErrUnreachable):
		return fmt.Errorf("detach through the running daemon: %w", err)
	}
	return detachAlone(c, cfg)
}

// detachAlone holds the daemon's lock meanwhile, so that none starts.
func detachAlone(c *cli.Context, cfg config.Config) error {
	release, err := daemon.Lock(filepath.Join(cfg.StateDir, daemon.StoreFile))
	if err != nil {
		return err
	}
	names, err := loader.DetachAll(cfg.BPFFS)
	if err := errors.Join(err, release()); err != nil {
		return err
	}
	if len(names) == 0 {
		_, err = fmt.Fprintf(c.App.Writer, "nothing to detach below %s\n", cfg.BPFFS)
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "detached: %s\n", strings.Join(names, ", "))
	return err
}
