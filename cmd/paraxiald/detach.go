package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/daemon"
)

// detach removes the filter. If a daemon runs, the daemon removes it and stops.
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
		_, err = fmt.Fprintln(c.App.Writer, "detached: the daemon has removed the filter from all interfaces and stops")
		return err
	case !errors.Is(err, control.ErrUnreachable):
		return fmt.Errorf("detach through the running daemon: %w", err)
	}
	return detachAlone(c, cfg)
}

func detachAlone(c *cli.Context, cfg config.Config) error {
	names, err := daemon.DetachOffline(cfg)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		_, err = fmt.Fprintf(c.App.Writer, "nothing to detach below %s\n", cfg.BPFFS)
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "detached: %s\n", strings.Join(names, ", "))
	return err
}
