// Package tests holds the tests of the project as a whole.
package tests

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/paraxial/paraxial/"

// Third-party libraries. A package below one of them belongs to it.
const (
	bart     = "github.com/gaissmai/bart"
	bbolt    = "go.etcd.io/bbolt"
	cli      = "github.com/urfave/cli"
	compress = "github.com/klauspost/compress"
	ebpf     = "github.com/cilium/ebpf"
	gopacket = "github.com/gopacket/gopacket"
	minisign = "aead.dev/minisign"
	netlink  = "github.com/vishvananda/netlink"
	prom     = "github.com/prometheus/client_golang"
	systemd  = "github.com/coreos/go-systemd"
	sys      = "golang.org/x/sys"
	term     = "golang.org/x/term"
	xz       = "github.com/ulikunitz/xz"
	yaml     = "github.com/goccy/go-yaml"
)

// A room is a folder of the program. Packages in its internal folders belong to it.
type room struct {
	rooms     []string // rooms that it may import
	libraries []string // third-party libraries that it may import
}

// rooms is the table of docs/architecture.md.
func rooms() map[string]room {
	return map[string]room{
		"policy":            {nil, []string{bart}},
		"track":             {},
		"warnings":          {},
		"lockfile":          {},
		"match":             {},
		"realip":            {},
		"tail":              {},
		"journal":           {},
		"syslog":            {},
		"index":             {[]string{"policy"}, nil},
		"store":             {[]string{"lockfile", "policy"}, []string{bbolt}},
		"engine":            {[]string{"index", "policy", "store"}, []string{sys}},
		"ladder":            {[]string{"policy"}, nil},
		"ladder/offenders":  {[]string{"ladder", "policy"}, []string{sys}},
		"events":            {[]string{"ladder", "policy"}, nil},
		"detect":            {[]string{"ladder", "policy", "track"}, nil},
		"ladder/journal":    {[]string{"ladder", "policy"}, nil},
		"replay":            {[]string{"detect", "policy"}, []string{gopacket}},
		"config":            {[]string{"detect", "events", "ladder", "match", "policy"}, []string{yaml}},
		"conns":             {[]string{"warnings"}, []string{sys}},
		"fail2ban":          {nil, nil},
		"control":           {[]string{"conns", "policy", "report"}, []string{sys}},
		"control/broadcast": {[]string{"control"}, nil},
		"control/wire":      {[]string{"control", "policy"}, nil},
		"report":            {[]string{"conns", "policy"}, nil},
		"report/blocklist":  {[]string{"report", "warnings"}, []string{sys}},
		"clients/paraxial":  {},
		"tags":              {[]string{"policy"}, []string{bart}},
		"guard":             {[]string{"config", "loader/hostinfo", "policy", "warnings"}, nil},
		"metrics":           {[]string{"conns"}, []string{prom}},
		"lists":             {[]string{"policy"}, []string{compress, xz}},
		"feeds":             {[]string{"feeds/crowdsec", "lists", "report"}, []string{minisign}},
		"feeds/catalog":     {},
		"feeds/crowdsec":    {[]string{"policy", "report"}, nil},
		"logs":              {[]string{"config", "journal", "match", "realip", "report", "syslog", "tail"}, nil},
		"sdnotify":          {nil, []string{sys}},
		"service":           {nil, []string{cli, systemd}},
		"manpage":           {nil, []string{cli}},
		"doctor":            {},
		"doctor/probe":      {[]string{"doctor"}, []string{netlink, sys}},
		"loader": {[]string{"loader/banks", "lockfile", "policy", "track"},
			[]string{ebpf, netlink, sys}},
		"loader/banks": {nil, []string{ebpf, sys}},
		"loader/hostinfo": {[]string{"loader/hostinfo/tunnels", "loader/hostinfo/upstream"},
			[]string{netlink, sys}},
		"loader/hostinfo/tunnels":  {nil, []string{netlink, sys}},
		"loader/hostinfo/upstream": {nil, []string{sys}},
		"daemon": {
			[]string{
				"config", "conns", "control", "control/broadcast", "control/wire", "detect", "engine",
				"events", "guard", "ladder", "ladder/journal", "ladder/offenders", "loader", "loader/hostinfo",
				"metrics", "policy", "report", "report/blocklist", "sdnotify", "store", "tags", "track", "warnings",
			},
			[]string{bart}, // in the preview of a block
		},
		"cmd/paraxial-agent": {
			[]string{"config", "feeds", "lockfile", "logs", "manpage", "report", "sdnotify", "service"},
			[]string{cli}},
		"cmd/paraxiald": {[]string{"config", "control", "daemon", "manpage", "policy", "replay", "service"},
			[]string{cli, systemd}},
		"cmd/paraxialctl": {
			[]string{"config", "control", "doctor", "doctor/probe", "events", "fail2ban", "feeds/catalog", "ladder",
				"lists", "manpage", "match", "policy", "realip", "report"},
			[]string{cli, sys, term}},
	}
}

// outside reports whether a folder holds Go code that is not part of the program.
func outside(folder string) bool {
	first, _, _ := strings.Cut(folder, "/")
	return first == "tests" || first == "examples"
}

// roomOf returns the room that a folder belongs to.
func roomOf(folder string) string {
	name, _, _ := strings.Cut(folder, "/internal/")
	return name
}

// TestDepsOfRooms enforces the table of docs/architecture.md: what each room may
// import. A folder that the table does not know fails the test.
func TestDepsOfRooms(t *testing.T) {
	known := rooms()
	page, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for folder, imports := range allImports(t) {
		if outside(folder) {
			continue
		}
		name := roomOf(folder)
		r, ok := known[name]
		if !ok {
			t.Errorf("%s is not a known room: add it to the tables of tests/deps_test.go and docs/architecture.md",
				folder)
			continue
		}
		if !strings.Contains(string(page), "`"+name+"/`") && !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("%s is not in the table of docs/architecture.md", name)
		}
		for _, imported := range imports {
			if !r.may(name, imported) {
				t.Errorf("%s imports %s, which its room may not", folder, strings.TrimPrefix(imported, module))
			}
		}
	}
}

// may reports whether the room called name may import a package.
func (r room) may(name, imported string) bool {
	if inner, ours := strings.CutPrefix(imported, module); ours {
		return roomOf(inner) == name || slices.Contains(r.rooms, inner)
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return true // the standard library
	}
	return slices.ContainsFunc(r.libraries, func(l string) bool {
		return imported == l ||
			strings.HasPrefix(imported, l+"/")
	})
}

// TestDepsOfPrograms keeps rooms and libraries out of a program, including imports through other
// rooms: the kernel's library out of those that need no right for it, and what reads lists or
// fetches them out of the daemon.
func TestDepsOfPrograms(t *testing.T) {
	all := allImports(t)
	for program, never := range map[string][]string{
		"cmd/paraxialctl":    {ebpf, module + "loader"},
		"cmd/paraxial-agent": {ebpf, module + "loader", module + "engine", module + "store", module + "daemon"},
		"cmd/paraxiald":      {minisign, module + "feeds", module + "lists"},
	} {
		queue, seen := []string{program}, map[string]bool{program: true}
		for len(queue) > 0 {
			folder := queue[0]
			queue = queue[1:]
			for _, imported := range all[folder] {
				for _, n := range never {
					if imported == n || strings.HasPrefix(imported, n+"/") {
						t.Errorf("%s, which is part of %s, imports %s", folder, program, imported)
					}
				}
				if inner, ours := strings.CutPrefix(imported, module); ours && !seen[inner] {
					seen[inner] = true
					queue = append(queue, inner)
				}
			}
		}
		if len(seen) < 5 {
			t.Errorf("%s imports %d rooms: this test has checked nothing", program, len(seen)-1)
		}
	}
}

// TestDepsOfDetect keeps detect free of everything that would make a decision depend on more than
// its input: of the standard library it imports only pure computation.
func TestDepsOfDetect(t *testing.T) {
	impure := []string{
		"context", "crypto", "io", "log", "math/rand", "net", "os", "runtime", "sync", "syscall", "unsafe",
	}
	imports := allImports(t)["detect"]
	if len(imports) == 0 {
		t.Error("detect imports nothing: this test has checked nothing")
	}
	for _, dep := range imports {
		below := func(i string) bool { return dep == i || strings.HasPrefix(dep, i+"/") }
		if dep != "net/netip" && slices.ContainsFunc(impure, below) {
			t.Errorf("detect imports %s", dep)
		}
	}
}

// allImports returns the imports of the module's packages, by folder. It reads the files itself,
// with all build tags, so that the go command runs the test again after any of them changes.
func allImports(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != ".." || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		folder := filepath.ToSlash(strings.TrimPrefix(filepath.Dir(path), "../"))
		for _, i := range file.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			all[folder] = append(all[folder], imported)
		}
		if all[folder] == nil {
			all[folder] = []string{} // also list a package that imports nothing
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
