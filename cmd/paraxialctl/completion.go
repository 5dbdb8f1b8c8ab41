package main

import (
	"slices"
	"strings"
	"text/template"

	"github.com/urfave/cli/v2"
)

func (p *program) completionCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "completion",
			Usage:     "print a completion script for a shell",
			ArgsUsage: "bash|zsh|fish",
			Description: "bash:  source <(paraxialctl completion bash)\n" +
				"zsh:   source <(paraxialctl completion zsh)\n" +
				"fish:  paraxialctl completion fish | source",
			Action: p.completion,
		},
		args: offer{Words: []string{"bash", "zsh", "fish"}},
	}
}

func (p *program) completion(c *cli.Context) error {
	scripts := map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}
	script, ok := scripts[c.Args().First()]
	if !ok || c.NArg() != 1 {
		return misuse(c, "completion takes one of bash, zsh and fish")
	}
	t, err := template.New("completion").Funcs(template.FuncMap{"quote": fishQuote}).Parse(findScript)
	if err == nil {
		t, err = t.Parse(script)
	}
	if err != nil {
		return err
	}
	return t.Execute(p.out, completed(p.tree))
}

// completion is what the scripts are made of.
type completion struct {
	Globals []completedFlag // may stand anywhere
	Places  []completedPlace
}

// completedPlace is a place in a command line, and what a shell offers there.
type completedPlace struct {
	After    string // the names of the commands before it, such as "feeds list"
	Commands []completedWord
	Flags    []completedFlag
	Args     offer
}

type completedWord struct{ Name, Usage string }

type completedFlag struct {
	completedWord        // the long name
	Typed         string // as it is typed, such as --output
	Short         string // such as o; empty if it has none
	TakesValue    bool
	Values        offer
}

// Names returns the names of all commands, such as "feeds list".
func (c completion) Names() []string {
	var names []string
	for _, p := range c.Places {
		if p.After != "" {
			names = append(names, p.After)
		}
	}
	return names
}

// completed describes the commands, from the definitions by which the program
// reads its arguments.
func completed(commands []command) completion {
	return completion{
		Globals: completedFlags(globalFlags()),
		Places:  completedPlaces("", []cli.Flag{cli.HelpFlag, cli.VersionFlag}, offer{}, commands),
	}
}

// completedPlaces returns the place after some names, and those after each of
// the commands that may follow.
func completedPlaces(after string, flags []cli.Flag, args offer, below []command) []completedPlace {
	here := completedPlace{After: after, Flags: completedFlags(flags), Args: args}
	var further []completedPlace
	for _, c := range below {
		if c.Hidden {
			continue
		}
		here.Commands = append(here.Commands, completedWord{c.Name, c.Usage})
		// The cli library has added --help to the command that runs.
		own := slices.DeleteFunc(slices.Clone(c.Flags), func(f cli.Flag) bool { return f == cli.HelpFlag })
		further = append(further, completedPlaces(strings.TrimSpace(after+" "+c.Name), own, c.args, c.below)...)
	}
	return append([]completedPlace{here}, further...)
}

func completedFlags(flags []cli.Flag) (all []completedFlag) {
	for _, f := range flags {
		name := f.Names()[0]
		c := completedFlag{completedWord: completedWord{Name: name}, Typed: "--" + name, TakesValue: takesValue(f)}
		if d, ok := f.(cli.DocGenerationFlag); ok {
			c.Usage = strings.ReplaceAll(d.GetUsage(), "`", "")
		}
		if o, ok := f.(*offeringFlag); ok {
			c.Values = o.values
		}
		for _, alias := range f.Names()[1:] {
			if len(alias) == 1 {
				c.Short = alias
			}
		}
		all = append(all, c)
	}
	return all
}

// fishQuote quotes s for fish, in which only \ and ' are special inside '…'.
func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
