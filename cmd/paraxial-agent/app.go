package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/manpage"
	"github.com/paraxial/paraxial/service"
)

const (
	defaultConfig = "/etc/paraxial/paraxiald.yaml"
	defaultState  = "/var/lib/paraxial-feeds"
	defaultLogs   = "/var/lib/paraxial-logs"
)

// run runs the command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return service.Run(ctx, newApp(stdout, stderr), args, stderr)
}

func newApp(stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:      "paraxial-agent",
		Usage:     "fetch lists and read logs for paraxiald",
		UsageText: "paraxial-agent feeds [flags]\nparaxial-agent logs [flags]\nparaxial-agent version",
		Description: "feeds fetches the lists that the configuration of paraxiald names, checks them, and hands\n" +
			"them to the daemon. Sets stay in force until their ttl. logs reads the logs that it names, and\n" +
			"reports the events in them. Each runs as a user of its own, without any capability. SIGHUP\n" +
			"reloads the configuration; SIGTERM stops the command.",
		Writer:         stdout,
		ErrWriter:      stderr,
		HideVersion:    true,
		OnUsageError:   service.OnUsageError,
		ExitErrHandler: func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return &service.UsageError{Err: fmt.Errorf("unknown command %q", c.Args().First())}
			}
			return &service.UsageError{Err: errors.New("name a command: feeds or logs")}
		},
		Commands: []*cli.Command{
			{
				Name: "feeds", Usage: "keep the lists under feeds: fresh",
				Flags:        flags("the lists and their state", defaultState),
				OnUsageError: service.OnUsageError,
				Action:       service.NoArgs(func(c *cli.Context) error { return runFeeds(c, stderr) }),
			},
			{
				Name: "logs", Usage: "read the logs under logs: and report their events",
				Flags:        flags("how far the logs were read", defaultLogs),
				OnUsageError: service.OnUsageError,
				Action:       service.NoArgs(func(c *cli.Context) error { return runLogs(c, stderr) }),
			},
			{
				Name: "man", Usage: "print the manual page", Hidden: true,
				Action: service.NoArgs(func(c *cli.Context) error {
					return manpage.Write(c.App.Writer, c.App,
						manual())
				}),
			},
			{
				Name: "version", Usage: "print the version", OnUsageError: service.OnUsageError,
				Action: service.NoArgs(func(c *cli.Context) error {
					_, err := fmt.Fprintln(c.App.Writer, "paraxial-agent", version)
					return err
				}),
			},
		},
	}
}

func flags(kept, dir string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "read the configuration of paraxiald from `FILE`", Value: defaultConfig,
			DefaultText: defaultConfig},
		&cli.StringFlag{Name: "state-dir", Usage: "keep " + kept + " in `DIR`", Value: dir, DefaultText: dir},
	}
}

func manual() manpage.Page {
	return manpage.Page{
		Section: 8,
		Version: version,
		Extra: []manpage.Section{
			{Title: "SIGNALS", Items: []manpage.Item{
				{Term: "SIGTERM, SIGINT", Text: "Stop. The sets stay in force until their ttl. The next " +
					"run reads logs from where this one has stopped."},
				{Term: "SIGHUP",
					Text: "Reload the configuration. An invalid configuration changes nothing; the log reports it."},
			}},
			{Title: "ENVIRONMENT", Items: []manpage.Item{
				{Term: "HTTPS_PROXY, HTTP_PROXY, NO_PROXY",
					Text: "The proxy for requests, and the hosts to ask without it. A proxy resolves the names of " +
						"hosts, so only addresses in URLs are checked then."},
			}},
			{Title: "FILES", Items: []manpage.Item{
				{Term: defaultConfig,
					Text: "The configuration of paraxiald: feeds, logs, proxies, reports.socket and log."},
				{Term: defaultState, Text: "The last generations of each list, and its state. It can be deleted: the " +
					"lists are then fetched again."},
				{Term: defaultLogs, Text: "How far each log was read. If it is deleted, logs are read from their end."},
				{Term: config.Default().Reports.Socket, Text: "The socket of paraxiald for reporters."},
			}},
			{Title: "EXIT STATUS", Items: []manpage.Item{{Text: "0 done, 1 failed, 2 usage."}}},
		},
		SeeAlso: []string{"paraxiald(8)", "paraxialctl(1)", "systemctl(1)"},
	}
}
