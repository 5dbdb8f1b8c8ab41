package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// commandLine is what was typed, in the order that the cli library takes.
type commandLine struct {
	args   []string // names of commands, flags, "--", arguments
	output string   // table or json
	socket string   // empty if not given
}

// permute sorts args. The cli library ends flags at the first argument, and a
// flag of a command hides the global one of the same name, while people type
// `block 192.0.2.1 --for 1h -o json`. Everything after "--" is an argument, and
// "-" is an argument anywhere.
func permute(app *cli.App, args []string) (commandLine, error) {
	line := commandLine{output: "table"}
	var flags, words []string
	path := findCommand(app, args)
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			words = append(words, args[i+1:]...)
			break
		}
		if arg == "-" || !strings.HasPrefix(arg, "-") {
			words = append(words, arg)
			continue
		}
		f, err := readFlag(last(path), args[i:])
		if err != nil {
			return line, err
		}
		i += f.used - 1
		switch {
		case f.name == "output":
			line.output = f.value
		case f.name == "socket":
			line.socket = f.value
		case f.takesValue, f.hasValue:
			flags = append(flags, "--"+f.name+"="+f.value)
		default:
			flags = append(flags, "--"+f.name)
		}
	}
	if line.output != "table" && line.output != "json" {
		return line, usagef("-o %s: want table or json", line.output)
	}
	var err error
	line.args, err = arrange(app, path, flags, words)
	return line, err
}

// arrange puts the names of commands first, and the arguments where none of them
// can be taken for a flag.
func arrange(app *cli.App, path []*cli.Command, flags, words []string) ([]string, error) {
	switch {
	case len(words) > 0 && (words[0] == "help" || words[0] == "h"):
		return helpFor(app, words[1:])
	case slices.Contains(flags, "--help"):
		return helpFor(app, words)
	case len(path) == 0:
		return append(flags, words...), nil
	}
	names, arguments := words[:len(path):len(path)], words[len(path):]
	args := append(append(names, flags...), "--")
	return append(args, arguments...), nil
}

// helpFor turns `help feeds list` into `feeds list --help`, and leaves out the
// arguments: the library would look for help on these.
func helpFor(app *cli.App, names []string) ([]string, error) {
	path := findCommand(app, append([]string{"--"}, names...))
	cmd := last(path)
	if len(names) > len(path) && (cmd == nil || len(cmd.Subcommands) > 0) {
		return nil, unknownCommand(app, cmd, names[len(path)])
	}
	return append(names[:len(path):len(path)], "--help"), nil
}

// findCommand returns the command that args name, after those that it is below.
// The value of a flag between the names is not taken for a name: only global
// flags have a value there.
func findCommand(app *cli.App, args []string) (path []*cli.Command) {
	below := app.Commands
	onlyWords := false
	for i := 0; i < len(args) && len(below) > 0; i++ {
		arg := args[i]
		if !onlyWords && arg == "--" {
			onlyWords = true
			continue
		}
		if !onlyWords && arg != "-" && strings.HasPrefix(arg, "-") {
			if f, err := readFlag(nil, args[i:]); err == nil {
				i += f.used - 1
			}
			continue
		}
		n := slices.IndexFunc(below, func(c *cli.Command) bool { return c.Name == arg && arg != "help" })
		if n < 0 {
			break
		}
		path = append(path, below[n])
		below = below[n].Subcommands
	}
	return path
}

// last returns the command that path leads to, nil if that is the program.
func last(path []*cli.Command) *cli.Command {
	if len(path) == 0 {
		return nil
	}
	return path[len(path)-1]
}

// flagUse is one flag as it was typed.
type flagUse struct {
	name       string // the long one
	value      string
	takesValue bool
	hasValue   bool // as --name=value
	used       int  // how many arguments it took
}

// readFlag reads the flag at the start of args: --name, --name=value, --name
// value, -n, -n=value, -n value or -nvalue.
func readFlag(cmd *cli.Command, args []string) (flagUse, error) {
	typed, value, hasValue := strings.Cut(args[0], "=")
	name := strings.TrimLeft(typed, "-")
	long := strings.HasPrefix(typed, "--")
	flag := lookUp(cmd, name)
	if flag == nil && !long && len(name) > 1 {
		// -ojson
		if flag = lookUp(cmd, name[:1]); takesValue(flag) {
			value, hasValue = strings.TrimPrefix(args[0], "-")[1:], true
		} else {
			flag = nil
		}
	}
	if flag == nil {
		return flagUse{}, unknownFlag(cmd, typed)
	}
	f := flagUse{name: flag.Names()[0], value: value, hasValue: hasValue, takesValue: takesValue(flag), used: 1}
	if f.takesValue && !hasValue {
		if len(args) < 2 {
			return f, misuseOf(cmd, fmt.Sprintf("%s needs a value", typed))
		}
		f.value, f.used = args[1], 2
	}
	return f, nil
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// allFlags returns the flags that may be given with cmd, which may be nil.
func allFlags(cmd *cli.Command) []cli.Flag {
	flags := append(globalFlags(), cli.HelpFlag)
	if cmd == nil {
		return append(flags, cli.VersionFlag)
	}
	return append(flags, cmd.Flags...)
}

func lookUp(cmd *cli.Command, name string) cli.Flag {
	for _, f := range allFlags(cmd) {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func unknownFlag(cmd *cli.Command, typed string) error {
	message := "unknown flag " + typed
	var names []string
	for _, f := range allFlags(cmd) {
		names = append(names, f.Names()[0])
	}
	if near := nearest(strings.TrimLeft(typed, "-"), names); near != "" {
		message += fmt.Sprintf("; did you mean --%s?", near)
	}
	return misuseOf(cmd, message)
}
