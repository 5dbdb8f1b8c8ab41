package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/tests/testenv"
)

// shells returns the commands that complete the words %s in each shell. zsh
// completes in a line editor only: its compadd and _files are replaced by ones that
// print.
func shells() map[string]string {
	return map[string]string{
		"bash": `COMP_WORDS=(paraxialctl %s) COMP_CWORD=$((${#COMP_WORDS[@]}-1))
		_paraxialctl; printf '%%s\n' "${COMPREPLY[@]}"`,
		"zsh":  `words=(paraxialctl %s) CURRENT=$#words; _paraxialctl`,
		"fish": `complete -C "paraxialctl %s" | string replace -r '\t.*' ''; true`,
	}
}

const zshStandIns = `compdef() { }
compadd() { shift; print -l -- ${(M)@:#$words[CURRENT]*} }
_files() { print -l -- $words[CURRENT]*(N) }
`

// complete returns what a shell offers after typed, in order.
func complete(t *testing.T, shell, script, typed string) []string {
	t.Helper()
	path := findShell(t, shell)
	words := typed
	if begun := strings.HasSuffix(typed, " ") || typed == ""; begun && shell != "fish" {
		words += "''"
	}
	input := script + "\n" + fmt.Sprintf(shells()[shell], words) + "\n"
	args := map[string][]string{"bash": {"--norc"}, "zsh": {"-f"}, "fish": {"--no-config"}}[shell]
	if shell == "zsh" {
		input = zshStandIns + input
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(cmd.Dir, "a-file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = strings.NewReader(input)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v\n%s", shell, err, stderr.String())
	}
	return slices.Sorted(slices.Values(strings.Fields(string(out))))
}

func findShell(t *testing.T, shell string) string {
	t.Helper()
	path, err := exec.LookPath(shell)
	if errors.Is(err, exec.ErrNotFound) {
		testenv.Missing(t, fmt.Sprintf("needs %s to run its script: install %s", shell, shell))
	}
	return path
}

// TestCompletion: every script is accepted by its shell, and offers what a
// command takes.
func TestCompletion(t *testing.T) {
	for shell := range shells() {
		t.Run(shell, func(t *testing.T) {
			script := invokeWithPlants(t, "completion", shell).Stdout
			cmd := exec.Command(findShell(t, shell), "-n")
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			for typed, want := range completions() {
				// Flags are offered with the rest; fish offers them after a dash only.
				got := complete(t, shell, script, typed)
				if !strings.Contains(typed, " -") || strings.HasSuffix(typed, " ") {
					got = slices.DeleteFunc(got, func(s string) bool { return strings.HasPrefix(s, "--") })
				}
				if got := strings.Join(got, " "); got != want {
					t.Errorf("%q: offered %q, want %q", typed, got, want)
				}
			}
		})
	}
}

// completions returns what every shell offers after some words, without flags
// unless one has begun.
func completions() map[string]string {
	return map[string]string{
		"st":                           "stats status",
		"pl":                           "plants",
		"completion ":                  "bash fish zsh",
		"list ":                        "allows blocks",
		"export a":                     "allows",
		"import a":                     "a-file",
		"import --skip":                "--skip-invalid",
		"status -o ":                   "json table",
		"--output j":                   "json",
		"--socket a":                   "a-file",
		"--socket list st":             "stats status",
		"block --for ":                 "",
		"block --dr":                   "--dry-run",
		"top --sort s":                 "share source",
		"doctor --bpffs a":             "a-file",
		"plants ":                      "list press water",
		"plants w":                     "water",
		"--socket list plants l":       "list",
		"plants -o json l":             "list",
		"doctor l":                     "lo",
		"plants water l":               "lo",
		"plants water fern t":          "tree",
		"plants water --d":             "--dry-run",
		"plants water list fe":         "fern",
		"plants water --origin ":       "rain river",
		"plants water fern --origin r": "rain river",
		"plants press a":               "a-file",
		"list plants a":                "allows",
	}
}
