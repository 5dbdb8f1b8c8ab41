package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

// commandPaths returns the commands that are not hidden, of all levels, as they are
// typed.
func commandPaths(above string, commands []*cli.Command) []string {
	var paths []string
	for _, c := range commands {
		if c.Hidden {
			continue
		}
		path := above + c.Name
		paths = append(append(paths, path), commandPaths(path+" ", c.Subcommands)...)
	}
	return paths
}

// headedCommand returns the command that a heading is about: its words up to the
// first one that stands for an argument. A word with a | is one of several that may
// be given.
func headedCommand(heading string) string {
	var words []string
	for _, w := range strings.Fields(heading) {
		if !regexp.MustCompile(`^[a-z][a-z-]*$`).MatchString(w) {
			break
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func TestHeadedCommand(t *testing.T) {
	for heading, want := range map[string]string{
		"watch": "watch", "block PREFIX...": "block", "list [blocks|allows]": "list",
		"completion bash|zsh|fish": "completion", "feeds list": "feeds list", "feeds add NAME URL": "feeds add",
	} {
		if got := headedCommand(heading); got != want {
			t.Errorf("%q: got %q, want %q", heading, got, want)
		}
	}
}

func TestCommandPaths(t *testing.T) {
	commands := []*cli.Command{
		{Name: "a"}, {Name: "h", Hidden: true},
		{Name: "b", Subcommands: []*cli.Command{{Name: "c", Subcommands: []*cli.Command{{Name: "d"}}}}},
	}
	if diff := cmp.Diff([]string{"a", "b", "b c", "b c d"}, commandPaths("", commands)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The reference has a heading for every command and subcommand, and for no other.
func TestDocsNameEveryCommand(t *testing.T) {
	doc, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	want := commandPaths("", (&program{}).newApp().Commands)
	var got []string
	for _, heading := range regexp.MustCompile(`(?m)^###+ (.+)$`).FindAllStringSubmatch(string(doc), -1) {
		got = append(got, headedCommand(heading[1]))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the headings of docs/cli.md (-program +documented):\n%s", diff)
	}
}
