package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/service"
)

// run runs the command line and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return service.Run(ctx, newApp(stdout, stderr), args, stderr)
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:  "paraxiald",
		Usage: "stop abusive sources at the network card",
		UsageText: "paraxiald [run] [flags]\nparaxiald check|detach [flags]\n" +
			"paraxiald replay FILE.pcap [flags]\nparaxiald version",
		Description: "Without a command, paraxiald runs the daemon. SIGHUP reloads the configuration;\n" +
			"SIGTERM stops the daemon and leaves the filter in place: detach removes it.",
		Writer:                    stdout,
		ErrWriter:                 stderr,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		OnUsageError:              service.OnUsageError,
		ExitErrHandler:            func(*cli.Context, error) {},
		Flags:                     flags(),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return &service.UsageError{Err: fmt.Errorf("unknown command %q", c.Args().First())}
			}
			return runDaemon(c, stderr)
		},
		Commands: commands(stderr),
	}
	return app
}

func commands(stderr io.Writer) []*cli.Command {
	run := func(c *cli.Context) error { return runDaemon(c, stderr) }
	return []*cli.Command{
		{
			Name: "run", Usage: "run the daemon (the default)",
			Flags: flags(), OnUsageError: service.OnUsageError, Action: service.NoArgs(run),
		},
		{
			Name: "check", Usage: "validate the configuration and exit",
			Flags: flags(), OnUsageError: service.OnUsageError, Action: service.NoArgs(check),
		},
		{
			Name: "detach", Usage: "remove the filter from all interfaces, and its pins",
			Flags: append(flags(), &cli.BoolFlag{
				Name: "all", Usage: "find the filters on all BPF file systems; needs no valid configuration",
			}),
			OnUsageError: service.OnUsageError, Action: service.NoArgs(detach),
		},
		replayCommand(),
		manCommand(),
		{Name: "version", Usage: "print the version", OnUsageError: service.OnUsageError,
			Action: service.NoArgs(printVersion)},
	}
}

func printVersion(c *cli.Context) error {
	_, err := fmt.Fprintln(c.App.Writer, "paraxiald", version)
	return err
}

func check(c *cli.Context) error {
	cfg, err := configure(c)
	if err != nil {
		return err
	}
	from := cfg.File
	if from == "" {
		from = "the command line"
	}
	for _, doubt := range cfg.Doubts() {
		fmt.Fprintf(c.App.ErrWriter, "warning: %s\n", doubt)
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: ok, %d interfaces\n", from, len(cfg.Interfaces))
	return err
}

// defaultConfig is read if it exists and there is no --config.
const defaultConfig = "/etc/paraxial/paraxiald.yaml"

func flags() []cli.Flag {
	d := config.Default()
	return []cli.Flag{
		&cli.StringFlag{
			Name: "config", Usage: "read the configuration from `FILE`", DefaultText: defaultConfig + " if it exists",
		},
		&cli.StringSliceFlag{Name: "interface", Usage: "filter on `IFACE`; may be repeated"},
		&cli.StringFlag{Name: "xdp-mode", Usage: "auto, native or generic", DefaultText: string(d.XDPMode)},
		&cli.StringFlag{Name: "socket", Usage: "listen for paraxialctl on `PATH`", DefaultText: d.Socket},
		&cli.StringFlag{Name: "state-dir", Usage: "keep the state that survives a restart in `DIR`",
			DefaultText: d.StateDir},
		&cli.StringFlag{Name: "bpffs", Usage: "pin the filter in `DIR`, on a BPF file system", DefaultText: d.BPFFS},
		&cli.StringFlag{
			Name: "metrics", Usage: "serve Prometheus on `ADDR` (host:port or unix:PATH); empty is off",
			DefaultText: d.Metrics,
		},
		&cli.StringFlag{Name: "log-level", Usage: "debug, info, warn or error", DefaultText: "info"},
		&cli.StringFlag{Name: "log-format", Usage: "text or json", DefaultText: string(d.Log.Format)},
	}
}
