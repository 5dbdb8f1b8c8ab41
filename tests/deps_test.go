// Package tests holds what is checked of the project as a whole.
package tests

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/paraxial/paraxial/"

// TestRoomsImportWhatTheyMay enforces the table of docs/architecture.md: which
// room may import which, directly or not.
func TestRoomsImportWhatTheyMay(t *testing.T) {
	for room, may := range map[string][]string{
		"policy":          {"policy"},
		"loader":          {"loader", "policy", "track"},
		"loader/hostinfo": {"loader/hostinfo"},
		"index":           {"index", "policy"},
		"track":           {"track"},
		"store":           {"store", "policy"},
		"config":          {"config", "policy"},
		"control":         {"control", "policy"},
		"metrics":         {"metrics"},
		"cmd/paraxialctl": {"cmd/paraxialctl", "control", "policy"},
		"cmd/paraxiald":   {"cmd/paraxiald", "daemon", "config", "control", "index", "loader", "metrics", "policy", "store", "track"},
	} {
		for _, dep := range deps(t, room) {
			inner, ours := strings.CutPrefix(dep, module)
			if ours && !slices.ContainsFunc(may, func(m string) bool { return inner == m || strings.HasPrefix(inner, m+"/") }) {
				t.Errorf("%s imports %s", room, inner)
			}
		}
	}
}

// TestLibrariesStayInTheirRoom keeps the kernel's libraries in the loader.
func TestLibrariesStayInTheirRoom(t *testing.T) {
	for _, room := range []string{"index", "track", "policy", "store", "config", "control", "metrics", "cmd/paraxialctl"} {
		for _, dep := range deps(t, room) {
			for _, library := range []string{"github.com/cilium/ebpf", "github.com/vishvananda/netlink"} {
				if strings.HasPrefix(dep, library) {
					t.Errorf("%s imports %s, which belongs to loader", room, dep)
				}
			}
		}
	}
}

func deps(t *testing.T, room string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", module+room).Output()
	if err != nil {
		t.Fatalf("go list %s: %v", room, err)
	}
	return strings.Fields(string(out))
}
