package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// memoryGroup is a cgroup with a limit of memory, of version 1 or 2.
type memoryGroup struct {
	dir  string
	v2   bool
	root string // where the hierarchy is mounted
}

const groupPrefix = "paraxial-hostile-"

// newMemoryGroup makes a cgroup. The sandbox has a sysfs of its own, so the hierarchy is mounted again.
func newMemoryGroup(limit int) (g *memoryGroup, err error) {
	g = &memoryGroup{root: "/run/hostile-cgroup"}
	if err := os.MkdirAll(g.root, 0o755); err != nil {
		return nil, err
	}
	if g.v2, err = g.mount(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.unmount())
		}
	}()
	parent := g.root // of version 2, only the root may have processes beside groups
	file := "memory.max"
	if !g.v2 {
		own, err := ownMemoryGroup()
		if err != nil {
			return nil, err
		}
		parent, file = filepath.Join(g.root, own), "memory.limit_in_bytes"
	}
	g.removeAbandoned(parent)
	if g.dir, err = os.MkdirTemp(parent, groupPrefix); err != nil {
		return nil, fmt.Errorf("make a memory cgroup: %w", err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, file), []byte(strconv.Itoa(limit)), 0o644); err != nil {
		return nil, errors.Join(fmt.Errorf("limit the memory of %s: %w", g.dir, err), os.Remove(g.dir))
	}
	return g, nil
}

func (g *memoryGroup) mount() (v2 bool, err error) {
	if err := unix.Mount("cgroup2", g.root, "cgroup2", 0, ""); err == nil {
		have, err := os.ReadFile(filepath.Join(g.root, "cgroup.subtree_control"))
		if err == nil && strings.Contains(string(have), "memory") {
			return true, nil
		}
		if err := g.unmount(); err != nil {
			return false, err
		}
	}
	if err := unix.Mount("cgroup", g.root, "cgroup", 0, "memory"); err != nil {
		return false, fmt.Errorf("mount the memory controller: %w", err)
	}
	return false, nil
}

// removeAbandoned removes the groups of tests that were killed. The kernel refuses to remove others, which
// have processes.
func (g *memoryGroup) removeAbandoned(parent string) {
	old, _ := filepath.Glob(filepath.Join(parent, groupPrefix+"*"))
	for _, dir := range old {
		_ = os.Remove(dir)
	}
}

func (g *memoryGroup) unmount() error { return unix.Unmount(g.root, unix.MNT_DETACH) }

// ownMemoryGroup is the cgroup of version 1 that this process is in.
func ownMemoryGroup() (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 && f[1] == "memory" {
			return f[2], nil
		}
	}
	return "", errors.New("this process is in no memory cgroup")
}

// wrap returns a program that enters the cgroup and then runs another program in its own place.
func (g *memoryGroup) wrap(t *testing.T, program string) string {
	t.Helper()
	script := fmt.Sprintf("#!/bin/sh\necho $$ >%s/cgroup.procs && exec %s \"$@\"\n", g.dir, program)
	path := filepath.Join(t.TempDir(), "paraxiald")
	check(t, os.WriteFile(path, []byte(script), 0o755))
	return path
}

// kills is how often the kernel ended a process of the cgroup for lack of memory.
func (g *memoryGroup) kills() int {
	if g == nil {
		return 0
	}
	file := "memory.oom_control"
	if g.v2 {
		file = "memory.events"
	}
	text, _ := os.ReadFile(filepath.Join(g.dir, file)) // without the file there are no kills to tell of
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(value))
			return n
		}
	}
	return 0
}

// peak is the most memory that the cgroup has taken, in bytes, with the kernel's and the page cache. It is
// 0 if the kernel does not tell.
func (g *memoryGroup) peak() int {
	file := "memory.max_usage_in_bytes"
	if g.v2 {
		file = "memory.peak"
	}
	text, _ := os.ReadFile(filepath.Join(g.dir, file))
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return n
}

// remove removes the cgroup once its last process has ended.
func (g *memoryGroup) remove() error {
	var err error
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if err = os.Remove(g.dir); !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return errors.Join(err, g.unmount())
		}
	}
}
