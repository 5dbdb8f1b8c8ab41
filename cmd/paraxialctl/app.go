package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/doctor"
	"github.com/paraxial/paraxial/doctor/probe"
)

// The exit codes. Scripts depend on them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
)

// version is set by the linker.
var version string

// environment is everything outside the program that it uses.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time
	probe          func(probe.Options) (doctor.Facts, error)
	socket         string // of paraxiald, if the user names none
	root           bool   // the program runs as root
}

// program is one run.
type program struct {
	environment
	out    *bufio.Writer // stdout
	format string        // table or json
	client *control.Client
	tree   []command // the commands of app, with what a shell offers for them
	app    *cli.App
}

// usageError is a mistake in the arguments.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

// errReported is a failure that is already printed.
var errReported = errors.New("reported")

// run runs the program with args, without its name, and returns the exit code.
func run(ctx context.Context, args []string, env environment) int {
	return runWith(ctx, args, env, (*program).commands)
}

// runWith is run with other commands.
func runWith(ctx context.Context, args []string, env environment, commands func(*program) []command) int {
	p := &program{environment: env, out: bufio.NewWriterSize(env.stdout, 32<<10)}
	p.build(commands(p))
	err := p.execute(ctx, args)
	if flushErr := p.out.Flush(); err == nil {
		err = flushErr
	}
	return p.exitCode(err)
}

func (p *program) execute(ctx context.Context, args []string) error {
	line, err := permute(p.app, args)
	if err != nil {
		return err
	}
	p.format = line.output
	p.client = p.connectTo(cmp.Or(line.socket, p.getenv("PARAXIAL_SOCKET")))
	return p.app.RunContext(ctx, append([]string{p.app.Name}, line.args...))
}

// connectTo returns a client for the daemon on a socket that the user has named, or for the usual
// one.
func (p *program) connectTo(named string) *control.Client {
	switch {
	case named != "":
		return control.NewClient(named)
	case p.root:
		return control.NewRootClient(p.socket)
	}
	return control.NewClient(p.socket)
}

// exitCode reports err and returns the exit code for it.
func (p *program) exitCode(err error) int {
	usage, isUsage := errors.AsType[*usageError](err)
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errReported):
		return exitFailed
	case errors.Is(err, syscall.EPIPE):
		return exitFailed // the reader has closed the pipe
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(p.stderr, "%s: interrupted\n", p.app.Name)
		return exitFailed
	}
	fmt.Fprintf(p.stderr, "%s: %s\n", p.app.Name, printable(err.Error()))
	switch {
	case isUsage:
		fmt.Fprintln(p.stderr, cmp.Or(usage.hint, "See `"+p.app.Name+" --help`."))
		return exitUsage
	case errors.Is(err, control.ErrUnreachable), isUnreachable(err):
		return exitUnreachable
	}
	return exitFailed
}

// commands returns the commands of the program, in the order of its help.
func (p *program) commands() []command {
	return []command{
		p.statusCommand(), p.blockCommand(), p.promoteCommand(), p.unblockCommand(), p.allowCommand(),
		p.unallowCommand(), p.flushCommand(), p.listCommand(), p.whyCommand(), p.statsCommand(), p.topCommand(),
		p.detectorsCommand(), p.rulesCommand(), p.forgiveCommand(),
		p.feedsCommand(), p.logsCommand(), p.originsCommand(), p.importCommand(), p.exportCommand(),
		p.watchCommand(), p.confirmCommand(),
		p.reportCommand(), p.doctorCommand(), p.realipCommand(), p.matchCommand(), p.convertCommand(),
		p.completionCommand(),
		p.manCommand(),
	}
}

// build makes the program of commands.
func (p *program) build(commands []command) {
	p.tree = commands
	p.app = &cli.App{
		Name:      "paraxialctl",
		HelpName:  "paraxialctl",
		Usage:     "block and allow sources of packets, and see what is dropped",
		UsageText: "paraxialctl [--socket PATH] [-o table|json] COMMAND [ARGUMENTS]",
		Description: "Flags may stand before and after the arguments.\n" +
			"Exit codes: 0 done, 1 refused or failed, 2 usage, 3 paraxiald not reachable.",
		Version:                   cmp.Or(version, buildVersion()),
		Writer:                    p.out,
		ErrWriter:                 p.stderr,
		DisableSliceFlagSeparator: true,
		Flags:                     globalFlags(),
		Commands:                  setUp(commands),
		Action:                    p.noCommand,
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return usagef("%v", err)
		},
		// Errors are reported once, by exitCode.
		ExitErrHandler: func(*cli.Context, error) {},
	}
	p.app.Setup()
	setNames(p.app.HelpName, commands)
}

// globalFlags are the flags of every command. permute reads them; the cli library
// only lists them.
func globalFlags() []cli.Flag {
	return []cli.Flag{
		&offeringFlag{&cli.StringFlag{
			Name: "socket",
			Usage: "talk to the paraxiald that listens on `PATH` (default: $PARAXIAL_SOCKET, else " +
				control.DefaultSocket + ")",
		}, offer{Files: true}},
		&offeringFlag{&cli.StringFlag{
			Name: "output", Aliases: []string{"o"}, Usage: "print `FORMAT`: table or json", Value: "table",
		}, offer{Words: []string{"table", "json"}}},
	}
}

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
