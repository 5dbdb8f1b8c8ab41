package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/replay"
	"github.com/paraxial/paraxial/service"
)

func replayCommand() *cli.Command {
	return &cli.Command{
		Name:      "replay",
		Usage:     "show what the detectors would have decided on a capture",
		UsageText: "paraxiald replay FILE.pcap [--config FILE] [--local ADDR]... [-o table|json]",
		Description: "Runs a capture (pcap or pcapng, also gzipped) through the detectors of the configuration.\n" +
			"Nothing is filtered and nothing is sent. Capture incoming packets only, or name the host's own\n" +
			"addresses with --local: tcpdump -Q in -s 96 -w FILE.pcap -i eth0",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "read the detectors from `FILE`", DefaultText: defaultConfig},
			&cli.StringSliceFlag{
				Name: "local", Usage: "skip packets from `ADDR`, an address of the captured host; may be repeated",
			},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "table or json", Value: "table"},
		},
		OnUsageError:    service.OnUsageError,
		SkipFlagParsing: true, // the cli library would stop at the file
		Action:          runReplay,
	}
}

// replayArgs is the command line of replay.
type replayArgs struct {
	file, config, output string
	local                []netip.Prefix
}

// parseReplay reads and checks the command line.
func parseReplay(args []string) (replayArgs, error) {
	a := replayArgs{output: "table"}
	flags := flag.NewFlagSet("replay", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&a.config, "config", "", "")
	flags.StringVar(&a.output, "output", a.output, "")
	flags.StringVar(&a.output, "o", a.output, "")
	flags.Func("local", "", func(s string) error {
		p, _, err := policy.ParsePrefix(s)
		a.local = append(a.local, p)
		return err
	})
	if err := a.parseAround(flags, args); err != nil {
		return a, err
	}
	switch {
	case a.file == "":
		return a, errors.New("replay: name a capture, as in replay FILE.pcap")
	case a.output != "table" && a.output != "json":
		return a, fmt.Errorf("--output: %q is not accepted; want table or json", a.output)
	}
	return a, nil
}

func runReplay(c *cli.Context) error {
	args, err := parseReplay(c.Args().Slice())
	if errors.Is(err, flag.ErrHelp) {
		return cli.ShowSubcommandHelp(c)
	}
	if err != nil {
		return &service.UsageError{Err: err}
	}
	cfg, err := replayConfig(c, args.config)
	if err != nil {
		return err
	}
	f, err := os.Open(args.file)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	defer f.Close()
	guard := guardOf(cfg)
	result, failed := replay.Run(f, replay.Options{
		Detectors:     cfg.Detectors,
		MaxBans:       cfg.Detection.MaxBans,
		BansPerMinute: cfg.Detection.Breaker.BansPerMinute,
		Exempt:        exemptions(cfg, guard),
		PartlyExempt:  func(p netip.Prefix) bool { return !cfg.BehindProxy(p) && !guard.Protects(p) },
		Local:         args.local,
	})
	// The part of a capture before a damaged packet is worth reading.
	if failed == nil || result.Summary.Packets > 0 {
		if err := writeReplay(c.App.Writer, result, args.output); err != nil {
			return err
		}
	}
	if failed != nil {
		return fmt.Errorf("replay: %s: %w", args.file, failed)
	}
	return nil
}

// writeReplay writes a result as a table or as JSON.
func writeReplay(w io.Writer, result replay.Result, output string) error {
	write := result.WriteTable
	if output == "json" {
		write = result.WriteJSON
	}
	if err := write(w); err != nil {
		return fmt.Errorf("replay: write: %w", err)
	}
	return nil
}

func replayConfig(c *cli.Context, file string) (config.Config, error) {
	if file == "" {
		file = flagOf(c, "config") // before the command
	}
	if file == "" {
		file = defaultConfig
	}
	cfg, err := config.Load(file)
	if err != nil {
		return cfg, err
	}
	if len(cfg.Detectors) == 0 {
		return cfg, fmt.Errorf("replay: no detectors in %s; "+
			"uncomment those of the example, or see docs/detectors.md", file)
	}
	return cfg.WithProxySets(), nil
}

// parseAround reads the flags before and after the file, and the file.
func (a *replayArgs) parseAround(flags *flag.FlagSet, args []string) error {
	for {
		if err := flags.Parse(args); err != nil {
			return err
		}
		if flags.NArg() == 0 {
			return nil
		}
		if a.file != "" {
			return fmt.Errorf("replay takes one file, but there is %q", flags.Arg(0))
		}
		a.file, args = flags.Arg(0), flags.Args()[1:]
	}
}

// guardOf returns the guard for the addresses that the configuration protects.
func guardOf(cfg config.Config) *policy.Guard {
	var protected []policy.Protected
	for _, p := range cfg.Guard.NeverBlock {
		protected = append(protected, policy.Protected{Prefix: p, What: "listed in guard.never_block"})
	}
	return policy.NewGuard(protected)
}

// exemptions returns a function that tells whether the configuration exempts a
// prefix, and why. The daemon also exempts its allow list and the addresses that
// the guard finds on the host.
func exemptions(cfg config.Config, guard *policy.Guard) func(netip.Prefix) (string, bool) {
	return func(p netip.Prefix) (string, bool) {
		if proxy, ok := cfg.ProxyOf(p); ok {
			return fmt.Sprintf("%s is listed in proxies", proxy), true
		}
		if refusal := guard.Check(p); refusal != nil {
			return refusal.Error(), true
		}
		return "", false
	}
}
