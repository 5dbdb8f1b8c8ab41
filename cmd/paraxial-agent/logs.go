package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/logs"
	"github.com/paraxial/paraxial/report"
)

// The memory of a batch is used again, so that there is little garbage. logsMemory keeps the
// collector from letting it grow.
const logsMemory = 40 << 20

func runLogs(c *cli.Context, stderr io.Writer) error {
	debug.SetMemoryLimit(logsMemory)
	return runJob(c, stderr, "logs", readAll, func(a *agent, dir string) job {
		options := logs.Options{Dir: dir, Sender: report.NewClient(a.socket), Log: a.log}
		return &logsJob{agent: a, engine: logs.New(options)}
	})
}

// readAll reads the configuration of the daemon with the file of its proxies.
func readAll(path string) (config.Config, error) {
	cfg, err := config.Load(path)
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w; the user of paraxial-agent must be able to read it: "+
			"setfacl -m u:paraxial-logs:r FILE", err)
	}
	return cfg, err
}

// logsJob reads logs.
type logsJob struct {
	*agent
	engine *logs.Engine
}

func (j *logsJob) run(ctx context.Context) { j.engine.Run(ctx) }

// configure hands the logs to the engine. Without a socket to report to, there are none.
func (j *logsJob) configure(ctx context.Context, cfg config.Config) {
	if j.socket == "" && len(cfg.Logs) > 0 {
		j.log.Error("logs are not read, because reports.socket is off; set it, and restart the daemon and this service")
		return
	}
	if len(cfg.Logs) == 0 {
		j.log.Info("there are no logs; waiting for a change of the configuration")
	}
	if err := j.engine.Configure(ctx, cfg.Logs, cfg.WithProxySets().ProxyPrefixes()); err != nil {
		j.log.Error("not all logs are read", "error", err)
	}
}

func (j *logsJob) summary() string {
	states := j.engine.States()
	if len(states) == 0 {
		return "no logs"
	}
	var lines, matched, failing int
	for _, s := range states {
		lines += s.Lines
		matched += s.Matched
		if s.Error != "" {
			failing++
		}
	}
	text := fmt.Sprintf("%d logs, %d lines, %d matched", len(states), lines, matched)
	if failing > 0 {
		text += fmt.Sprintf("; %d failing", failing)
	}
	return text
}
