package main

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestCompletion: every script is accepted by its shell and offers every
// command.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			got := invoke(t.Context(), "", "", "completion", shell)
			for _, c := range []string{"status", "unblock", "import", "completion"} {
				if got.Code != exitDone || !strings.Contains(got.Stdout, c) {
					t.Errorf("code %d, no %s", got.Code, c)
				}
			}
			path, err := exec.LookPath(shell)
			if errors.Is(err, exec.ErrNotFound) {
				t.Skipf("needs %s to parse its script", shell)
			}
			cmd := exec.Command(path, "-n")
			cmd.Stdin = strings.NewReader(got.Stdout)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// Shells offer the interfaces that there are.
func TestCompletionOfInterfaces(t *testing.T) {
	for shell, try := range map[string]string{
		"bash": "COMP_WORDS=(paraxialctl doctor l) COMP_CWORD=2; _paraxialctl; printf '%s\n' \"${COMPREPLY[@]}\"",
		"fish": "complete -C 'paraxialctl doctor l'",
	} {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			if errors.Is(err, exec.ErrNotFound) {
				t.Skipf("needs %s", shell)
			}
			cmd := exec.Command(path)
			cmd.Stdin = strings.NewReader(invoke(t.Context(), "", "", "completion", shell).Stdout + "\n" + try + "\n")
			out, err := cmd.Output()
			if err != nil || !slices.Contains(strings.Fields(string(out)), "lo") {
				t.Errorf("%v; offered %q, want lo", err, out)
			}
		})
	}
}
