package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

// TestDocsNameEveryCommand: each command is a heading of the reference, each
// heading of that level is a command, and its section names its flags.
func TestDocsNameEveryCommand(t *testing.T) {
	doc, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string(nil), undocumented(string(doc), realProgram().tree)); diff != "" {
		t.Errorf("docs/cli.md (-want +got):\n%s", diff)
	}
}

func TestUndocumented(t *testing.T) {
	p := &program{}
	p.build([]command{
		p.listCommand(),
		p.group("plants", "grow plants", command{Command: &cli.Command{Name: "list"}}, command{Command: &cli.Command{
			Name: "water", ArgsUsage: "[NAME]",
			Flags: []cli.Flag{&cli.BoolFlag{Name: "dry"}, &cli.BoolFlag{Name: "dry-run"}},
		}}),
		p.manCommand(),
	})
	for name, tt := range map[string]struct{ doc, want string }{
		"complete": {"# x\n### list [blocks|allows] [--origin NAME]\n## y\n### plants list\n" +
			"### plants water [NAME] [--dry]\n`--dry-run`\n", ""},
		"nothing": {"", "list: no heading|plants list: no heading|plants water: no heading"},
		"flags": {"### list\n### plants list\n--dry\n### plants water\n--dry-run\n## x\n--origin\n",
			"list: no --origin|plants water: no --dry"},
		"group": {"### list --origin\n### plants\n--dry --dry-run list water\n",
			"plants list: no heading|plants water: no heading|plants: no command"},
		"unknown": {"### list --origin\n### lists\n### plants list\n### plants water --dry --dry-run\n",
			"lists: no command"},
	} {
		if got := strings.Join(undocumented(tt.doc, p.tree), "|"); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

// undocumented returns the differences between a reference and commands.
func undocumented(doc string, commands []command) (differences []string) {
	sections := make(map[string]string) // by heading
	heading := ""
	for line := range strings.Lines(doc) {
		if strings.HasPrefix(line, "#") {
			heading, _ = strings.CutPrefix(strings.TrimSpace(line), "### ")
		}
		sections[heading] += line
	}
	for _, c := range documentable(commands) {
		i := slices.IndexFunc(headings(sections), func(h string) bool { return names(h, c) })
		if i < 0 {
			differences = append(differences, fullName(c)+": no heading")
			continue
		}
		section := headings(sections)[i]
		separates := func(r rune) bool { return strings.ContainsRune(" \n`[]|,=", r) }
		words := strings.FieldsFunc(sections[section], separates)
		for _, f := range c.Flags {
			if !slices.Contains(words, "--"+f.Names()[0]) {
				differences = append(differences, fullName(c)+": no --"+f.Names()[0])
			}
		}
		delete(sections, section)
	}
	for _, h := range headings(sections) {
		differences = append(differences, h+": no command")
	}
	return differences
}

// headings returns the headings of the level of commands, in order.
func headings(sections map[string]string) (all []string) {
	for h, text := range sections {
		if strings.HasPrefix(text, "### ") {
			all = append(all, h)
		}
	}
	slices.Sort(all)
	return all
}

// names reports whether a heading is the name of c, with or without arguments.
func names(heading string, c *cli.Command) bool {
	rest, ok := strings.CutPrefix(heading, fullName(c))
	return ok && (rest == "" || rest[0] == ' ')
}

// documentable returns the commands that are neither hidden nor groups.
func documentable(commands []command) (all []*cli.Command) {
	for _, c := range commands {
		switch {
		case c.Hidden:
		case len(c.below) > 0:
			all = append(all, documentable(c.below)...)
		default:
			all = append(all, c.Command)
		}
	}
	return all
}
