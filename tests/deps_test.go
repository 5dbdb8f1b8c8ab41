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
		"loader":          {"loader", "lockfile", "policy", "track"},
		"loader/banks":    {"loader/banks"},
		"loader/hostinfo": {"loader/hostinfo"},
		"index":           {"index", "policy"},
		"track":           {"track"},
		"store":           {"store", "lockfile", "policy"},
		"detect":          {"detect", "policy", "track"},
		"replay":          {"replay", "detect", "policy", "track"},
		"config":          {"config", "detect", "policy", "track"},
		"control":         {"control", "policy"},
		"lockfile":        {"lockfile"},
		"metrics":         {"metrics"},
		"doctor":          {"doctor"},
		"doctor/probe":    {"doctor"},
		"manpage":         {"manpage"},
		"cmd/paraxialctl": {"cmd/paraxialctl", "control", "doctor", "manpage", "policy"},
		"cmd/paraxiald":   {"cmd/paraxiald", "daemon", "config", "control", "detect", "index", "loader", "lockfile", "manpage", "metrics", "policy", "replay", "store", "track"},
	} {
		for _, dep := range deps(t, room) {
			inner, ours := strings.CutPrefix(dep, module)
			if ours && !slices.ContainsFunc(may, func(m string) bool { return inner == m || strings.HasPrefix(inner, m+"/") }) {
				t.Errorf("%s imports %s", room, inner)
			}
		}
	}
}

// TestLibrariesStayInTheirRoom keeps the kernel's libraries in the loader, and in
// the doctor's probe what it needs to look.
func TestLibrariesStayInTheirRoom(t *testing.T) {
	const ebpf, netlink = "github.com/cilium/ebpf", "github.com/vishvananda/netlink"
	for _, room := range []string{"index", "track", "policy", "detect", "replay", "store", "config", "control", "lockfile", "metrics", "doctor", "doctor/probe", "cmd/paraxialctl"} {
		for _, dep := range deps(t, room) {
			looks := room == "doctor/probe" || room == "cmd/paraxialctl"
			if strings.HasPrefix(dep, ebpf) || strings.HasPrefix(dep, netlink) && !looks {
				t.Errorf("%s imports %s, which belongs to loader", room, dep)
			}
		}
	}
}

// TestDetectIsPure keeps all that makes a decision depend on more than its input
// out of detect: it imports policy and track, and of the standard library what computes.
func TestDetectIsPure(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{join .Imports "\n"}}`, module+"detect").Output()
	if err != nil {
		t.Fatalf("go list detect: %v", err)
	}
	impure := []string{"context", "crypto", "io", "log", "math/rand", "net", "os", "runtime", "sync", "syscall", "unsafe"}
	for _, dep := range strings.Fields(string(out)) {
		first, _, _ := strings.Cut(dep, "/")
		switch {
		case dep == module+"policy", dep == module+"track", dep == "net/netip":
		case strings.Contains(first, "."), slices.ContainsFunc(impure, func(i string) bool { return dep == i || strings.HasPrefix(dep, i+"/") }):
			t.Errorf("detect imports %s", dep)
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
