package main

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/feeds"
	"github.com/paraxial/paraxial/report"
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

func runFeeds(c *cli.Context, stderr io.Writer) error {
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	return runJob(c, stderr, "feeds", readConfig, func(a *agent, dir string) job {
		return &feedsJob{agent: a, engine: feeds.New(feeds.Options{
			Dir: dir, Sender: report.NewClient(a.socket), Log: a.log, Agent: "paraxial-agent/" + version,
		})}
	})
}

// feedsJob keeps feeds fresh.
type feedsJob struct {
	*agent
	engine *feeds.Engine
}

func (j *feedsJob) run(ctx context.Context) { j.engine.Run(ctx) }

func (j *feedsJob) summary() string { return summary(j.engine.States()) }

// configure hands the feeds to the engine. Without a socket to hand sets to, there are none.
func (j *feedsJob) configure(ctx context.Context, cfg config.Config) {
	list := make([]feeds.Feed, 0, len(cfg.Feeds))
	for _, f := range cfg.Feeds {
		list = append(list, feedOf(cfg, f))
	}
	if j.socket == "" && len(list) > 0 {
		j.log.Error("feeds are not fetched, because reports.socket is off; set it, and restart the daemon and " +
			"this service")
		return
	}
	if len(list) == 0 {
		j.log.Info("there are no feeds; waiting for a change of the configuration")
	}
	if err := j.engine.Configure(ctx, list); err != nil {
		j.log.Error("not all feeds are as configured", "error", err)
	}
}

// feedOf returns a feed of the configuration as the engine has it.
func feedOf(cfg config.Config, f config.Feed) feeds.Feed {
	use := string(f.Use)
	switch {
	case f.Use == config.UseBlock:
		use += " " + string(f.Replies)
	case f.Use == config.UseLimit:
		use += " " + f.Limit.String() + " " + string(f.Replies)
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
