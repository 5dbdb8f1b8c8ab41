package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

// withPlants returns the commands of the program and one group more: "plants list",
// "plants water" and others.
func withPlants(p *program) []command {
	say := func(c *cli.Context) error {
		p.printf("%s %q %v %q %v\n",
			fullName(c.Command), c.String("origin"), c.Bool("dry-run"), c.Args().Slice(), p.json())
		return nil
	}
	return append(p.commands(), p.group("plants", "grow plants",
		command{Command: &cli.Command{Name: "list", Usage: "show the plants", Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			return say(c)
		}}},
		command{
			Command: &cli.Command{Name: "water", Usage: "water plants", ArgsUsage: "[tree|fern]...", Flags: []cli.Flag{
				&offeringFlag{&cli.StringFlag{Name: "origin", Usage: "from `SOURCE`"},
					offer{Words: []string{"rain", "river"}}},
				&cli.BoolFlag{Name: "dry-run", Usage: "don't", DisableDefaultText: true},
			}, Action: say},
			args: offer{Words: []string{"tree", "fern"}, Interfaces: true},
		},
		command{Command: &cli.Command{Name: "worry", Usage: "internal", Hidden: true, Action: say}},
		command{Command: &cli.Command{Name: "press", Usage: "press leaves", ArgsUsage: "FILE", Action: say},
			args: offer{Files: true}},
	))
}

func invokeWithPlants(t *testing.T, args ...string) outcome {
	t.Helper()
	return invokeWith(t.Context(), withPlants, "/nonexistent", "", args...)
}

// TestNested: a command below another reads flags and arguments in any order. It
// prints its name, --origin, --dry-run, its arguments, and whether -o is json.
func TestNested(t *testing.T) {
	for args, want := range map[string]string{
		"plants list":                                 `plants list "" false [] false`,
		"-o json plants list":                         `plants list "" false [] true`,
		"plants -o json list":                         `plants list "" false [] true`,
		"plants --socket list list":                   `plants list "" false [] false`,
		"plants list --output=json":                   `plants list "" false [] true`,
		"plants water fern --origin rain":             `plants water "rain" false ["fern"] false`,
		"plants water --origin=rain fern -ojson tree": `plants water "rain" false ["fern" "tree"] true`,
		"plants --dry-run water fern":                 `plants water "" true ["fern"] false`,
		"plants water list plants":                    `plants water "" false ["list" "plants"] false`,
		"plants water -- --origin":                    `plants water "" false ["--origin"] false`,
		"plants -- water --origin":                    `plants water "" false ["--origin"] false`,
		"-- plants water -":                           `plants water "" false ["-"] false`,
		"plants water - --origin -1 --dry-run":        `plants water "-1" true ["-"] false`,
		"plants worry":                                `plants worry "" false [] false`,
	} {
		if diff := cmp.Diff(outcome{exitDone, want + "\n", ""}, invokeWithPlants(t, split(args)...)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", args, diff)
		}
	}
}

// TestNestedUsage: mistakes exit with 2, and name the command with the one that
// it is below.
func TestNestedUsage(t *testing.T) {
	const group = "Usage: paraxialctl plants COMMAND\nSee `paraxialctl plants --help`.\n"
	const list = "Usage: paraxialctl plants list\nSee `paraxialctl plants list --help`.\n"
	const water = "Usage: paraxialctl plants water [tree|fern]... [FLAGS]\nSee `paraxialctl plants water --help`.\n"
	for args, want := range map[string]string{
		"plants":                      "plants needs a command: list, water, press\n" + group,
		"plants -o json":              "plants needs a command: list, water, press\n" + group,
		"plants lst":                  `unknown command "plants lst"; did you mean "plants list"?` + "\n" + group,
		"plants -- lst":               `unknown command "plants lst"; did you mean "plants list"?` + "\n" + group,
		"plants worri":                `unknown command "plants worri"` + "\n" + group,
		"plants frobnicate x":         `unknown command "plants frobnicate"` + "\n" + group,
		"plants help":                 `unknown command "plants help"` + "\n" + group,
		"plants lst --help":           `unknown command "plants lst"; did you mean "plants list"?` + "\n" + group,
		"help plants lst":             `unknown command "plants lst"; did you mean "plants list"?` + "\n" + group,
		"plants --origin":             "unknown flag --origin\n" + group,
		"plants list now":             `plants list takes no argument, got "now"` + "\n" + list,
		"plants list --orign x":       "unknown flag --orign\n" + list,
		"plants water --orign x":      "unknown flag --orign; did you mean --origin?\n" + water,
		"plants water fern --origin":  "--origin needs a value\n" + water,
		"plants water --dry-run=well": `invalid boolean value "well" for -dry-run: parse error` + "\n" + water,
		"plnats list": `unknown command "plnats"; did you mean "plants"?` +
			"\nSee `paraxialctl --help`.\n",
		"list plants": `"plants": want blocks or allows` +
			"\nUsage: paraxialctl list [blocks|allows] [FLAGS]\nSee `paraxialctl list --help`.\n",
	} {
		if diff := cmp.Diff(outcome{exitUsage, "", "paraxialctl: " + want},
			invokeWithPlants(t, split(args)...)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", args, diff)
		}
	}
}

func TestNestedHelp(t *testing.T) {
	for args, says := range map[string][]string{
		"--help": {"   plants      grow plants\n"},
		"plants --help": {"paraxialctl plants - grow plants", "paraxialctl plants ",
			"list   show the plants\n   water  water plants\n   press"},
		"plants -h":   {"paraxialctl plants - grow plants"},
		"help plants": {"paraxialctl plants - grow plants", "water plants"},
		"plants water --help": {"paraxialctl plants water - water plants", "[tree|fern]...",
			"--origin SOURCE"},
		"plants water --help fern":       {"paraxialctl plants water - water plants"},
		"help plants water":              {"paraxialctl plants water - water plants", "--origin SOURCE"},
		"h plants water fern":            {"paraxialctl plants water - water plants"},
		"plants list --help -o json now": {"paraxialctl plants list - show the plants"},
	} {
		got := invokeWithPlants(t, split(args)...)
		if got.Code != exitDone || got.Stderr != "" || strings.Contains(got.Stdout, "worry") {
			t.Errorf("%s: got %+v", args, got)
		}
		for _, s := range says {
			if !strings.Contains(got.Stdout, s) {
				t.Errorf("%s: %q is not in:\n%s", args, s, got.Stdout)
			}
		}
	}
}

func TestNestedManPage(t *testing.T) {
	got := invokeWithPlants(t, "man")
	for _, want := range []string{
		`.SS "plants COMMAND"` + "\nGrow plants.\n" + `.SS "plants list"` + "\nShow the plants.\n" +
			`.SS "plants water [tree|fern]..."` + "\nWater plants.\n.TP\n" + `\fB\-\-origin SOURCE\fR` +
			"\nfrom SOURCE\n",
		`.SS "plants press FILE"`,
	} {
		if !strings.Contains(got.Stdout, want) {
			t.Errorf("%s is not in:\n%s", want, got.Stdout)
		}
	}
	if strings.Contains(got.Stdout, "worry") {
		t.Error("the page has a hidden command")
	}
}
