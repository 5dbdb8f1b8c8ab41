package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
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

// environment is what the program sees of the world.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	now            func() time.Time
	probe          func(probe.Options) (doctor.Facts, error)
}

// program is one run.
type program struct {
	environment
	out    *bufio.Writer // stdout
	format string        // table or json
	client *control.Client
	app    *cli.App
	err    error // what a hook of the cli library found, which it does not return
}

// usageError is a mistake in the arguments.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

// errReported is a failure whose account is already printed.
var errReported = errors.New("reported")

// run runs the program with args, which do not hold its name, and returns the
// exit code.
func run(ctx context.Context, args []string, env environment) int {
	p := &program{environment: env, out: bufio.NewWriterSize(env.stdout, 32<<10)}
	p.app = p.newApp()
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
	socket := cmp.Or(line.socket, p.getenv("PARAXIAL_SOCKET"), control.DefaultSocket)
	p.client = control.NewClient(socket)
	if err := p.app.RunContext(ctx, append([]string{p.app.Name}, line.args...)); err != nil {
		return err
	}
	return p.err
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
		return exitFailed // the reader has seen enough
	case errors.Is(err, context.Canceled):
		fmt.Fprintf(p.stderr, "%s: interrupted\n", p.app.Name)
		return exitFailed
	}
	fmt.Fprintf(p.stderr, "%s: %s\n", p.app.Name, printable(err.Error()))
	switch {
	case isUsage:
		fmt.Fprintln(p.stderr, cmp.Or(usage.hint, "See `"+p.app.Name+" --help`."))
		return exitUsage
	case errors.Is(err, control.ErrUnreachable):
		return exitUnreachable
	}
	return exitFailed
}

func (p *program) newApp() *cli.App {
	app := &cli.App{
		Name:                      "paraxialctl",
		Usage:                     "block and allow sources of packets, and see what is dropped",
		UsageText:                 "paraxialctl [--socket PATH] [-o table|json] COMMAND [ARGUMENTS]",
		Description:               "Flags may stand before and after the arguments.\nExit codes: 0 done, 1 refused or failed, 2 usage, 3 paraxiald not reachable.",
		Version:                   cmp.Or(version, buildVersion()),
		Writer:                    p.out,
		ErrWriter:                 p.stderr,
		DisableSliceFlagSeparator: true,
		Flags:                     globalFlags(),
		Commands: []*cli.Command{
			p.statusCommand(), p.blockCommand(), p.promoteCommand(), p.unblockCommand(), p.allowCommand(), p.unallowCommand(),
			p.listCommand(), p.whyCommand(), p.statsCommand(), p.topCommand(), p.detectorsCommand(), p.importCommand(), p.exportCommand(),
			p.watchCommand(), p.confirmCommand(), p.doctorCommand(), p.completionCommand(), p.manCommand(),
		},
		CommandNotFound: func(_ *cli.Context, name string) { p.err = p.unknownCommand(name) },
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return usagef("%v", err)
		},
		// Errors are reported once, by exitCode.
		ExitErrHandler: func(*cli.Context, error) {},
	}
	app.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return p.unknownCommand(c.Args().First())
		}
		return usagef("no command given")
	}
	for _, c := range app.Commands {
		c.HideHelpCommand = true
		c.OnUsageError = func(ctx *cli.Context, err error, _ bool) error {
			return p.misuse(ctx, "%v", err)
		}
	}
	return app
}

// globalFlags are read by permute, wherever they stand; the cli library only
// lists them.
func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "socket", Usage: "talk to the paraxiald that listens on `PATH` (default: $PARAXIAL_SOCKET, else " + control.DefaultSocket + ")"},
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "print `FORMAT`: table or json", Value: "table"},
	}
}

func (p *program) unknownCommand(name string) error {
	message := fmt.Sprintf("unknown command %q", name)
	if near := nearest(name, commandNames(p.app)); near != "" {
		message += fmt.Sprintf("; did you mean %q?", near)
	}
	return usagef("%s", message)
}

// misuse is a usage error of the command that c runs.
func (p *program) misuse(c *cli.Context, format string, args ...any) error {
	return misuseOf(p.app, c.Command, fmt.Sprintf(format, args...))
}

func misuseOf(app *cli.App, cmd *cli.Command, message string) error {
	return &usageError{
		message: message,
		hint:    fmt.Sprintf("Usage: %s\nSee `%s %s --help`.", usageLine(app, cmd), app.Name, cmd.Name),
	}
}

func usageLine(app *cli.App, cmd *cli.Command) string {
	line := app.Name + " " + cmd.Name
	if cmd.ArgsUsage != "" {
		line += " " + cmd.ArgsUsage
	}
	// The cli library adds --help to every command.
	if slices.ContainsFunc(cmd.Flags, func(f cli.Flag) bool { return f != cli.HelpFlag }) {
		line += " [FLAGS]"
	}
	return line
}

// noArguments refuses what a command would not look at.
func (p *program) noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return p.misuse(c, "%s takes no argument, got %q", c.Command.Name, c.Args().First())
	}
	return nil
}

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
