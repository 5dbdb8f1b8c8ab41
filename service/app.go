package service

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

// The exit codes of Run.
const (
	ExitFailed = 1
	ExitUsage  = 2
)

// UsageError is a mistake in the command line.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// OnUsageError makes the errors of flags a UsageError.
func OnUsageError(_ *cli.Context, err error, _ bool) error { return &UsageError{err} }

// Run runs a command line and returns the exit code. It writes an error to stderr.
func Run(ctx context.Context, app *cli.App, args []string, stderr io.Writer) int {
	err := app.RunContext(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "%s: %v\n", app.Name, err)
	if _, ok := errors.AsType[*UsageError](err); ok {
		fmt.Fprintf(stderr, "Try %s --help.\n", app.Name)
		return ExitUsage
	}
	return ExitFailed
}

// NoArgs makes arguments of a command that takes none a UsageError.
func NoArgs(f cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Args().Present() {
			return &UsageError{fmt.Errorf("%s takes no argument, but there is %q", c.Command.Name, c.Args().First())}
		}
		return f(c)
	}
}
