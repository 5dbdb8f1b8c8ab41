package main

import (
	"context"
	"io"
	"log/slog"
	"runtime/debug"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/daemon"
	"github.com/paraxial/paraxial/service"
)

// gcPercent trades a little CPU for memory. With a million entries the heap is
// large and changes little, and the default percentage would let it double.
const gcPercent = 30

func runDaemon(c *cli.Context, stderr io.Writer) error {
	cfg, err := configure(c)
	if err != nil {
		return err
	}
	debug.SetGCPercent(gcPercent)
	level := new(slog.LevelVar)
	level.Set(cfg.Log.Level)
	log := service.NewLogger(stderr, cfg.Log.Format == config.FormatJSON, level)
	slog.SetDefault(log) // for libraries, and for messages before the daemon exists
	log.Info("paraxiald starts", "version", version, "config", cfg.File, "interfaces", len(cfg.Interfaces))
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	watchdog, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the watchdog of the service manager is ignored: its settings are invalid", "error", err)
	}
	err = daemon.Run(ctx, cfg, daemon.Options{
		Version:  version,
		Log:      log,
		Level:    level,
		Load:     func() (config.Config, error) { return configure(c) },
		Reload:   service.Hangups(ctx),
		Notify:   func(state string) { service.Notify(log, state) },
		Watchdog: watchdog,
	})
	if err == nil {
		log.Info("paraxiald stops")
	}
	return err
}
