package loader

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
)

// putStrays puts files that are not ours among the pins, and returns their paths.
func putStrays(t *testing.T, dir, gen string) []string {
	t.Helper()
	at := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	check(t, err)
	defer m.Close()
	pinMap := func(path string) string {
		check(t, pinCopy(m, path))
		return path
	}
	pinProgram := func(path string) string {
		p, err := passProgram(t).Clone()
		check(t, err)
		check(t, p.Pin(path))
		check(t, p.Close())
		return path
	}
	mkdir := func(path string) string {
		check(t, os.Mkdir(path, 0o700))
		return path
	}
	symlink := func(path string) string {
		check(t, os.Symlink("/sys", path))
		return path
	}
	return []string{
		pinMap(at(linksDir, "map0")), pinProgram(at(linksDir, "prog0")), mkdir(at(linksDir, "dir0")),
		symlink(at(linksDir, "sym0")), mkdir(at(linksDir, "_zz")),
		pinMap(at(gen, "prog_map")), pinMap(at(gen, "next_map")), pinProgram(at(gen, "program")),
		mkdir(at(gen, "prog_dir")), mkdir(at(gen, "dir")), symlink(at(gen, "prog_sym")),
		pinMap(at("gen-2")), mkdir(at("gen-007")), mkdir(at("gen-9223372036854775807")), symlink(at("gen-3")),
		mkdir(at("other")), pinMap(at("map")),
	}
}

// Files that are not ours stop neither a start nor a detach. They are named, and stay.
func TestStrays(t *testing.T) {
	dir := bpffs(t)
	veth(t, "str0")
	first := open(t, dir, 100)
	before := attach(t, first, "str0", ModeNative, 0)
	check(t, first.Commit())
	apply(t, first, block("192.0.2.1/32", policy.TickForever, 0, 0))
	strays := putStrays(t, dir, "gen-1")
	check(t, first.Close())

	var log bytes.Buffer
	// Another capacity, so that the maps and the generation are replaced.
	l, err := Open(Options{BPFFS: dir, MaxEntries: 200, Log: slog.New(slog.NewTextHandler(&log, nil))})
	check(t, err)
	for _, path := range strays {
		if !strings.Contains(log.String(), "path="+path+"\n") {
			t.Errorf("the log does not name %s", path)
		}
	}
	if after := attach(t, l, "str0", ModeNative, 0); after.LinkID != before.LinkID {
		t.Errorf("link %d after the restart, want %d", after.LinkID, before.LinkID)
	}
	check(t, l.Commit())
	if at := l.Attest("str0"); !at.Protected || at.Warning != "" {
		t.Errorf("attestation: %+v", at)
	}
	names, err := l.Interfaces()
	check(t, err)
	if diff := cmp.Diff([]string{"str0"}, names); diff != "" {
		t.Errorf("interfaces (-want +got):\n%s", diff)
	}
	left, err := os.ReadDir(filepath.Join(dir, "gen-1"))
	check(t, err)
	if len(left) != 6 {
		t.Errorf("in the old generation are %v, want the 6 files that are not ours", left)
	}
	check(t, l.Close())

	names, err = detachAll(t, dir)
	check(t, err)
	if diff := cmp.Diff([]string{"str0"}, names); diff != "" {
		t.Errorf("detached (-want +got):\n%s", diff)
	}
	if dev := mustDevice(t, "str0"); dev.program != 0 {
		t.Errorf("str0 still runs program %d", dev.program)
	}
	files := 0
	for _, path := range strays {
		info, err := os.Lstat(path)
		if err != nil {
			t.Errorf("not ours, but removed: %v", err)
		} else if !info.IsDir() {
			files++
		}
	}
	if got := len(strings.Fields(pins(t, dir))); got != files {
		t.Errorf("%d files are left, want the %d that are not ours:\n%s", got, files, pins(t, dir))
	}
	if names, err := detachAll(t, dir); err != nil || len(names) != 0 {
		t.Errorf("detach again: %v, %v", names, err)
	}
}

// A file in the place of a pin keeps that interface unfiltered, and the error names it.
func TestStrayInThePlaceOfALink(t *testing.T) {
	dir := bpffs(t)
	veth(t, "plc0")
	l := open(t, dir, 100)
	stray := filepath.Join(dir, linksDir, "plc0")
	check(t, os.Mkdir(stray, 0o700))
	_, err := l.Attach(t.Context(), "plc0", ModeNative, 0)
	if err == nil || !strings.Contains(err.Error(), stray) || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("attach: %v", err)
	}
	check(t, os.Remove(stray))
	attach(t, l, "plc0", ModeNative, 0)
}
