package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// commandLine is what was typed, in the order that the cli library wants.
type commandLine struct {
	args   []string // command, its flags, "--", its arguments
	output string   // table or json
	socket string   // empty if not given
}

// permute sorts args. The cli library ends flags at the first argument, and a
// flag of a command hides the global one of the same name, while people type
// `block 192.0.2.1 --for 1h -o json`. After "--" all are arguments, and "-" is
// one anywhere.
func permute(app *cli.App, args []string) (commandLine, error) {
	line := commandLine{output: "table"}
	var flags, words []string
	cmd := findCommand(app, args)
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
		f, err := readFlag(app, cmd, args[i:])
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
	line.args = arrange(cmd, flags, words)
	return line, nil
}

// arrange puts the command first, and its arguments where none of them can be
// taken for a flag.
func arrange(cmd *cli.Command, flags, words []string) []string {
	if cmd == nil {
		return append(flags, words...)
	}
	if slices.Contains(flags, "--help") {
		return []string{words[0], "--help"} // the library would look for help on the arguments
	}
	args := append([]string{words[0]}, flags...)
	return append(append(args, "--"), words[1:]...)
}

// findCommand returns the command that args name, or nil. The value of a flag
// before it is not taken for it, since only global flags have a value there.
func findCommand(app *cli.App, args []string) *cli.Command {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			if i+1 < len(args) {
				return app.Command(args[i+1])
			}
			return nil
		}
		if arg == "-" || !strings.HasPrefix(arg, "-") {
			return app.Command(arg)
		}
		if f, err := readFlag(app, nil, args[i:]); err == nil {
			i += f.used - 1
		}
	}
	return nil
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
func readFlag(app *cli.App, cmd *cli.Command, args []string) (flagUse, error) {
	typed, value, hasValue := strings.Cut(args[0], "=")
	name := strings.TrimLeft(typed, "-")
	long := strings.HasPrefix(typed, "--")
	flag := lookUp(app, cmd, name)
	if flag == nil && !long && len(name) > 1 {
		// -ojson
		if flag = lookUp(app, cmd, name[:1]); takesValue(flag) {
			value, hasValue = strings.TrimPrefix(args[0], "-")[1:], true
		} else {
			flag = nil
		}
	}
	if flag == nil {
		return flagUse{}, unknownFlag(app, cmd, typed)
	}
	f := flagUse{name: flag.Names()[0], value: value, hasValue: hasValue, takesValue: takesValue(flag), used: 1}
	if f.takesValue && !hasValue {
		if len(args) < 2 {
			return f, usageOf(app, cmd, fmt.Sprintf("%s needs a value", typed))
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
func allFlags(app *cli.App, cmd *cli.Command) []cli.Flag {
	flags := append(globalFlags(), cli.HelpFlag)
	if cmd == nil {
		return append(flags, cli.VersionFlag)
	}
	return append(flags, cmd.Flags...)
}

func lookUp(app *cli.App, cmd *cli.Command, name string) cli.Flag {
	for _, f := range allFlags(app, cmd) {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func unknownFlag(app *cli.App, cmd *cli.Command, typed string) error {
	message := "unknown flag " + typed
	var names []string
	for _, f := range allFlags(app, cmd) {
		names = append(names, f.Names()[0])
	}
	if near := nearest(strings.TrimLeft(typed, "-"), names); near != "" {
		message += fmt.Sprintf("; did you mean --%s?", near)
	}
	return usageOf(app, cmd, message)
}

func usageOf(app *cli.App, cmd *cli.Command, message string) error {
	if cmd == nil {
		return usagef("%s", message)
	}
	return misuseOf(app, cmd, message)
}
