package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/daemon"
	"github.com/paraxial/paraxial/service"
)

// detach removes the filter. If a daemon runs, the daemon removes it and stops.
func detach(c *cli.Context) error {
	cfg, err := detachConfig(c)
	if err != nil {
		return err
	}
	log := service.NewLogger(c.App.ErrWriter, cfg.Log.Format == config.FormatJSON, cfg.Log.Level)
	err = control.NewRootClient(cfg.Socket).Detach(c.Context)
	switch {
	case err == nil:
		_, err = fmt.Fprintln(c.App.Writer, "detached: the daemon has removed the filter from all interfaces and stops")
		if err != nil || !c.Bool("all") {
			return err
		}
	case !errors.Is(err, control.ErrUnreachable):
		return fmt.Errorf("detach through the running daemon: %w", err)
	case !c.Bool("all"):
		names, err := daemon.DetachOffline(cfg, log)
		return printDetached(c, names, err, "below "+cfg.BPFFS)
	}
	told := err == nil
	names, err := daemon.DetachEverywhere(told, log)
	if told && len(names) == 0 {
		return err
	}
	return printDetached(c, names, err, "on any BPF file system")
}

// detachConfig returns the configuration, or with --all the default if it is invalid: then
// only the socket is needed, to reach a daemon that runs.
func detachConfig(c *cli.Context) (config.Config, error) {
	cfg, err := readFile(c)
	switch {
	case err != nil && c.Bool("all"):
		fmt.Fprintf(c.App.ErrWriter, "paraxiald: the configuration is left aside: %v\n", err)
		cfg = config.Default()
	case err != nil:
		return cfg, fmt.Errorf("%w\nTo remove the filter without the configuration, run: paraxiald detach --all", err)
	}
	return cfg, overlay(c, &cfg)
}

func printDetached(c *cli.Context, names []string, err error, where string) error {
	if len(names) == 0 {
		if err == nil {
			_, err = fmt.Fprintf(c.App.Writer, "nothing to detach %s\n", where)
		}
		return err
	}
	_, e := fmt.Fprintf(c.App.Writer, "detached: %s\n", strings.Join(names, ", "))
	return errors.Join(err, e)
}
