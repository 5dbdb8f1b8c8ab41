package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// command is one command of the program, and what a shell offers for its
// arguments. A command that group made has further commands below it.
type command struct {
	*cli.Command
	args  offer
	below []command
}

// offer is what a shell offers for an argument, or for the value of a flag.
type offer struct {
	Words      []string
	Files      bool
	Interfaces bool // the network interfaces of this host
}

// offeringFlag is a flag whose values a shell can offer.
type offeringFlag struct {
	*cli.StringFlag
	values offer
}

// group returns a command that does nothing itself: the user must name one of
// those below it. It has no flags of its own, because permute looks for the name
// below before it knows which flags take a value.
func (p *program) group(name, usage string, below ...command) command {
	return command{
		Command: &cli.Command{Name: name, Usage: usage, ArgsUsage: "COMMAND", Action: p.noCommand},
		below:   below,
	}
}

// setUp returns commands as the cli library takes them.
func setUp(commands []command) []*cli.Command {
	var all []*cli.Command
	for _, c := range commands {
		c.HideHelpCommand = true
		c.OnUsageError = func(ctx *cli.Context, err error, _ bool) error {
			return misuse(ctx, "%v", err)
		}
		c.Subcommands = setUp(c.below)
		all = append(all, c.Command)
	}
	return all
}

// setNames sets the names that usage lines and help show. The cli library would
// do so for commands below others only when it runs them.
func setNames(parent string, commands []command) {
	for _, c := range commands {
		c.HelpName = parent + " " + c.Name
		setNames(c.HelpName, c.below)
	}
}

// noCommand is the action of the program and of a group. The cli library runs it
// if the next argument is missing, or is not the name of a command.
func (p *program) noCommand(c *cli.Context) error {
	var parent *cli.Command // nil: the program itself
	if c.Command.HelpName != p.app.HelpName {
		parent = c.Command
	}
	switch {
	case c.Args().Present():
		return unknownCommand(p.app, parent, c.Args().First())
	case parent == nil:
		return usagef("no command given")
	}
	return misuse(c, "%s needs a command: %s", fullName(parent), strings.Join(commandNames(parent.Subcommands), ", "))
}

// unknownCommand is the usage error for a name that no command below parent
// has. A nil parent is the program itself.
func unknownCommand(app *cli.App, parent *cli.Command, name string) error {
	prefix, known := "", app.Commands
	if parent != nil {
		prefix, known = fullName(parent)+" ", parent.Subcommands
	}
	message := fmt.Sprintf("unknown command %q", prefix+name)
	if near := nearest(name, commandNames(known)); near != "" {
		message += fmt.Sprintf("; did you mean %q?", prefix+near)
	}
	return misuseOf(parent, message)
}

// misuse is a usage error of the command that c runs.
func misuse(c *cli.Context, format string, args ...any) error {
	return misuseOf(c.Command, fmt.Sprintf(format, args...))
}

// misuseOf is a usage error of cmd, or of the program itself if cmd is nil.
func misuseOf(cmd *cli.Command, message string) error {
	if cmd == nil {
		return usagef("%s", message)
	}
	return &usageError{
		message: message,
		hint:    fmt.Sprintf("Usage: %s\nSee `%s --help`.", usageLine(cmd), cmd.HelpName),
	}
}

func usageLine(cmd *cli.Command) string {
	line := cmd.HelpName
	if cmd.ArgsUsage != "" {
		line += " " + cmd.ArgsUsage
	}
	// The cli library adds --help to every command.
	if slices.ContainsFunc(cmd.Flags, func(f cli.Flag) bool { return f != cli.HelpFlag }) {
		line += " [FLAGS]"
	}
	return line
}

// fullName returns the name of cmd with those of the commands above it, such as
// "feeds list".
func fullName(cmd *cli.Command) string {
	_, name, _ := strings.Cut(cmd.HelpName, " ")
	return name
}

// noArguments refuses arguments of a command that takes none.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return misuse(c, "%s takes no argument, got %q", fullName(c.Command), c.Args().First())
	}
	return nil
}

func commandNames(commands []*cli.Command) []string {
	var names []string
	for _, c := range commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}
