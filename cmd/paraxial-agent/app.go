package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/manpage"
)

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

const (
	defaultConfig = "/etc/paraxial/paraxiald.yaml"
	defaultState  = "/var/lib/paraxial-feeds"
)

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

// run runs the command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := newApp(stdout, stderr).RunContext(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "paraxial-agent: %v\n", err)
	if _, ok := errors.AsType[*usageError](err); ok {
		fmt.Fprintln(stderr, "Try paraxial-agent --help.")
		return exitUsage
	}
	return exitFailed
}

func newApp(stdout, stderr io.Writer) *cli.App {
	usage := func(_ *cli.Context, err error, _ bool) error { return &usageError{err} }
	return &cli.App{
		Name:      "paraxial-agent",
		Usage:     "fetch lists for paraxiald",
		UsageText: "paraxial-agent feeds [flags]\nparaxial-agent version",
		Description: "feeds fetches the lists that the configuration of paraxiald names, checks them, and hands\n" +
			"them to the daemon. It runs as a user of its own, without any capability. SIGHUP reloads\n" +
			"the configuration; SIGTERM stops it. Sets stay in force until their ttl.",
		Writer:         stdout,
		ErrWriter:      stderr,
		HideVersion:    true,
		OnUsageError:   usage,
		ExitErrHandler: func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return &usageError{fmt.Errorf("unknown command %q", c.Args().First())}
			}
			return &usageError{errors.New("name a command: feeds")}
		},
		Commands: []*cli.Command{
			{
				Name: "feeds", Usage: "keep the lists under feeds: fresh", Flags: flags(), OnUsageError: usage,
				Action: noArgs(func(c *cli.Context) error { return runFeeds(c, stderr) }),
			},
			{
				Name: "man", Usage: "print the manual page", Hidden: true,
				Action: noArgs(func(c *cli.Context) error { return manpage.Write(c.App.Writer, c.App, manual()) }),
			},
			{
				Name: "version", Usage: "print the version", OnUsageError: usage,
				Action: noArgs(func(c *cli.Context) error {
					_, err := fmt.Fprintln(c.App.Writer, "paraxial-agent", version)
					return err
				}),
			},
		},
	}
}

func noArgs(f cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Args().Present() {
			return &usageError{fmt.Errorf("%s takes no argument, but there is %q", c.Command.Name, c.Args().First())}
		}
		return f(c)
	}
}

func flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "read the configuration of paraxiald from `FILE`", Value: defaultConfig,
			DefaultText: defaultConfig},
		&cli.StringFlag{Name: "state-dir", Usage: "keep the lists and their state in `DIR`", Value: defaultState,
			DefaultText: defaultState},
	}
}

func manual() manpage.Page {
	return manpage.Page{
		Section: 8,
		Version: version,
		Extra: []manpage.Section{
			{Title: "SIGNALS", Items: []manpage.Item{
				{Term: "SIGTERM, SIGINT", Text: "Stop. The sets stay in force until their ttl."},
				{Term: "SIGHUP",
					Text: "Reload the configuration. An invalid configuration changes nothing; the log reports it."},
			}},
			{Title: "ENVIRONMENT", Items: []manpage.Item{
				{Term: "HTTPS_PROXY, HTTP_PROXY, NO_PROXY",
					Text: "The proxy for requests, and the hosts to ask without it. A proxy resolves the names of " +
						"hosts, so only addresses in URLs are checked then."},
			}},
			{Title: "FILES", Items: []manpage.Item{
				{Term: defaultConfig, Text: "The configuration of paraxiald: feeds, reports.socket and log."},
				{Term: defaultState, Text: "The last generations of each list, and its state. It can be deleted: the " +
					"lists are then fetched again."},
				{Term: config.Default().Reports.Socket, Text: "The socket of paraxiald for reporters."},
			}},
			{Title: "EXIT STATUS", Items: []manpage.Item{{Text: "0 done, 1 failed, 2 usage."}}},
		},
		SeeAlso: []string{"paraxiald(8)", "paraxialctl(1)", "systemctl(1)"},
	}
}
