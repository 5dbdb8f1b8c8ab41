package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/feeds"
	"github.com/paraxial/paraxial/lockfile"
	"github.com/paraxial/paraxial/report"
	"github.com/paraxial/paraxial/sdnotify"
	"github.com/paraxial/paraxial/service"
)

// The collector of garbage runs more often than usual, and still more often above
// memoryLimit, so that the largest list decides how much memory the agent takes.
const (
	gcPercent   = 30
	memoryLimit = 128 << 20
)

// Bounds of a request for a list.
const (
	maxBody     = 64 << 20
	requestTime = 5 * time.Minute
)

const statusEvery = 10 * time.Second

// agent is a run of the command feeds.
type agent struct {
	file    string
	log     *slog.Logger
	level   *slog.LevelVar
	socket  string // of the configuration at start
	engine  *feeds.Engine
	manager *sdnotify.Manager
}

func runFeeds(c *cli.Context, stderr io.Writer) error {
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	file, dir := c.String("config"), c.String("state-dir")
	cfg, err := readConfig(file)
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
		file: file, log: log, level: level, socket: cfg.Reports.Socket,
		engine: feeds.New(feeds.Options{
			Dir: dir, Sender: report.NewClient(cfg.Reports.Socket), Log: log,
			Agent: "paraxial-agent/" + version,
		}),
		manager: sdnotify.New(func(state string) { service.Notify(log, state) }, 0),
	}
	log.Info("paraxial-agent feeds starts", "version", version, "config", file, "feeds", len(cfg.Feeds))
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

// run keeps the feeds fresh until ctx is done.
func (a *agent) run(ctx context.Context, cfg config.Config) error {
	reloads := service.Hangups(ctx)
	a.configure(ctx, cfg)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.engine.Run(ctx)
	}()
	a.manager.Ready()
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		a.manager.Status(summary(a.engine.States()))
		select {
		case <-ctx.Done():
			a.manager.Stopping()
			<-ended
			a.log.Info("paraxial-agent feeds stops")
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
	cfg, err := readConfig(a.file)
	if err != nil {
		a.log.Error("the configuration is invalid; the previous one stays in force", "error", err)
		return
	}
	if cfg.Reports.Socket != a.socket {
		a.log.Warn("a change of reports.socket needs a restart of paraxial-agent")
	}
	a.level.Set(cfg.Log.Level)
	a.configure(ctx, cfg)
	a.log.Info("configuration reloaded", "feeds", len(cfg.Feeds))
}

// configure hands the feeds to the engine. Without a socket to hand sets to, there are none.
func (a *agent) configure(ctx context.Context, cfg config.Config) {
	list := make([]feeds.Feed, 0, len(cfg.Feeds))
	for _, f := range cfg.Feeds {
		list = append(list, feedOf(cfg, f))
	}
	if a.socket == "" && len(list) > 0 {
		a.log.Error("feeds are not fetched, because reports.socket is off")
		return
	}
	if len(list) == 0 {
		a.log.Info("there are no feeds; waiting for a change of the configuration")
	}
	if err := a.engine.Configure(ctx, list); err != nil {
		a.log.Error("not all feeds are as configured", "error", err)
	}
}

// feedOf returns a feed of the configuration as the engine has it.
func feedOf(cfg config.Config, f config.Feed) feeds.Feed {
	use := string(f.Use)
	switch {
	case f.Use == config.UseLimit:
		use += " " + f.Limit.String()
	case f.Use == config.UseTag && !cfg.Exempts(f.Name):
		use = feeds.Shadow // it has no effect, whatever its size
	}
	names, prefixes := exceptionsOf(cfg, f)
	return feeds.Feed{
		Except: names, Exempt: prefixes, CrowdSec: feeds.CrowdSec(f.CrowdSec),
		Name: f.Name, URL: f.URL, Every: f.Every, TTL: f.TTL, Use: use,
		Format: f.Format, Column: f.Column, Select: f.Select,
		Timeout: requestTime, MaxBytes: maxBody, MaxEntries: f.MaxEntries,
		MaxShrink: float64(f.MaxShrink) / 100, MaxGrow: float64(f.MaxGrow), MaxShare: float64(f.MaxShare) / 100,
		Private: f.Private, CA: f.CA, SHA256: f.SHA256, Minisign: f.Minisign,
	}
}

// exceptionsOf returns the names of the feeds and the prefixes of the sets that a feed leaves out.
func exceptionsOf(cfg config.Config, f config.Feed) (names, prefixes string) {
	var feedNames, all []string
	for _, name := range f.Except {
		at := slices.IndexFunc(cfg.Sets, func(s config.Set) bool { return s.Name == name })
		if at < 0 {
			feedNames = append(feedNames, name)
			continue
		}
		for _, p := range cfg.Sets[at].Prefixes {
			all = append(all, p.String())
		}
	}
	return strings.Join(feedNames, " "), strings.Join(all, " ")
}

// summary is what systemctl status shows.
func summary(states []report.State) string {
	if len(states) == 0 {
		return "no feeds"
	}
	var entries, held, failing, ended int
	for _, s := range states {
		entries += s.Entries
		if s.Held != nil && !s.Held.Operator {
			held++
		}
		if s.Error != "" {
			failing++
		}
		if s.Ended {
			ended++
		}
	}
	text := fmt.Sprintf("%d feeds, %d entries", len(states), entries)
	for _, part := range []struct {
		n    int
		what string
	}{{held, "held"}, {failing, "failing"}, {ended, "ended"}} {
		if part.n > 0 {
			text += fmt.Sprintf("; %d %s", part.n, part.what)
		}
	}
	return text
}
