package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/lockfile"
	"github.com/paraxial/paraxial/sdnotify"
	"github.com/paraxial/paraxial/service"
)

const statusEvery = 10 * time.Second

// job is what a command does.
type job interface {
	// configure makes the configuration the one in force.
	configure(ctx context.Context, cfg config.Config)
	// run works until ctx is done.
	run(ctx context.Context)
	// summary is what systemctl status shows.
	summary() string
}

// agent is a run of a command.
type agent struct {
	name    string // of the command
	file    string
	read    func(path string) (config.Config, error)
	log     *slog.Logger
	level   *slog.LevelVar
	socket  string // of the configuration at start
	job     job
	manager *sdnotify.Manager
}

// runJob runs a command until it is stopped.
func runJob(
	c *cli.Context, stderr io.Writer, name string, read func(string) (config.Config, error),
	start func(a *agent, dir string) job,
) error {
	file, dir := c.String("config"), c.String("state-dir")
	cfg, err := read(file)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(cfg.Log.Level)
	log := service.NewLogger(stderr, cfg.Log.Format == config.FormatJSON, level)
	lock, err := lockState(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	a := &agent{
		name: name, file: file, read: read, log: log, level: level, socket: cfg.Reports.Socket,
		manager: sdnotify.New(func(state string) { service.Notify(log, state) }, 0),
	}
	a.job = start(a, dir)
	log.Info("paraxial-agent "+name+" starts", "version", version, "config", file)
	return a.run(c.Context, cfg)
}

// readConfig reads the configuration of the daemon, of which the agent needs only a part.
func readConfig(path string) (config.Config, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return config.Config{}, fmt.Errorf("read configuration: %w; the user of paraxial-agent must be able to "+
			"read it: chgrp paraxial-feeds %s && chmod 640 %s", err, path, path)
	}
	if err != nil {
		return config.Config{}, fmt.Errorf("read configuration: %w (name another file with --config)", err)
	}
	defer f.Close()
	// With one byte more than MaxFileSize, Parse sees that the file is too large.
	data, err := io.ReadAll(io.LimitReader(f, config.MaxFileSize+1))
	if err != nil {
		return config.Config{}, fmt.Errorf("read configuration: %w", err)
	}
	return config.Parse(path, data)
}

// lockState takes the lock of the folder of the state. Closing the file releases it.
func lockState(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the state: %w (name another one with --state-dir)", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of the state: %w (name another one with --state-dir)", err)
	}
	if err := lockfile.Take(f, time.Second); err != nil {
		f.Close()
		return nil, fmt.Errorf("use %s: %w; is another paraxial-agent running?", dir, err)
	}
	return f, nil
}

// run works until ctx is done.
func (a *agent) run(ctx context.Context, cfg config.Config) error {
	reloads := service.Hangups(ctx)
	a.job.configure(ctx, cfg)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.job.run(ctx)
	}()
	a.manager.Ready()
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		a.manager.Status(a.job.summary())
		select {
		case <-ctx.Done():
			a.manager.Stopping()
			<-ended
			a.log.Info("paraxial-agent " + a.name + " stops")
			return nil
		case <-reloads:
			a.reload(ctx)
		case <-tick.C:
		}
	}
}

func (a *agent) reload(ctx context.Context) {
	a.manager.Reloading()
	defer a.manager.Ready()
	cfg, err := a.read(a.file)
	if err != nil {
		a.log.Error("the configuration is invalid; the previous one stays in force", "error", err)
		return
	}
	if cfg.Reports.Socket != a.socket {
		a.log.Warn("a change of reports.socket needs a restart of paraxial-agent")
	}
	a.level.Set(cfg.Log.Level)
	a.job.configure(ctx, cfg)
	a.log.Info("configuration reloaded")
}
