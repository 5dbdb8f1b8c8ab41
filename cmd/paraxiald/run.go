package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/daemon"
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
	log := newLogger(stderr, cfg.Log.Format, level)
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
		Reload:   hangups(ctx),
		Notify:   func(state string) { notify(log, state) },
		Watchdog: watchdog,
	})
	if err == nil {
		log.Info("paraxiald stops")
	}
	return err
}

func newLogger(w io.Writer, format config.Format, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == config.FormatJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// hangups returns a channel that receives a value for every SIGHUP until ctx is
// done.
func hangups(ctx context.Context) <-chan struct{} {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	reload := make(chan struct{})
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			select {
			case <-ctx.Done():
				return
			case reload <- struct{}{}:
			}
		}
	}()
	return reload
}

// notify tells systemd, if it runs the daemon.
func notify(log *slog.Logger, state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		log.Warn("cannot notify the service manager", "state", state, "error", err)
	}
}
