package main

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// traces are the things outside the sandbox that a demo could leave behind.
type traces map[string]bool

// settle is how long the kernel may take to free objects that are no longer in use.
const settle = 5 * time.Second

// tracesSince returns what was not there before, once the kernel has had the
// time to free it.
func tracesSince(before traces) ([]string, error) {
	var found traces
	err := eventually(settle, func() (bool, error) {
		var err error
		if found, err = findTraces(); err != nil {
			return false, err
		}
		maps.DeleteFunc(found, func(name string, _ bool) bool { return before[name] })
		return len(found) == 0, nil
	})
	return slices.Sorted(maps.Keys(found)), err
}

// eventually asks until done, an error, or the end of patience.
func eventually(patience time.Duration, done func() (bool, error)) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok, err := done(); ok || err != nil {
			return err
		}
	}
	return nil
}

func findTraces() (traces, error) {
	found := traces{}
	for _, find := range []func(traces) error{findProcesses, findInterfaces, findPins} {
		if err := find(found); err != nil {
			return nil, fmt.Errorf("look for traces: %w", err)
		}
	}
	return found, nil
}

// findProcesses finds what runs the demo or one of the binaries. A namespace
// without a name lives as long as its processes.
func findProcesses(found traces) error {
	ours := map[string]bool{}
	for _, file := range []string{"/proc/self/exe", filepath.Join(binDir, "paraxiald"),
		filepath.Join(binDir, "paraxialctl")} {
		path, err := filepath.EvalSymlinks(file)
		if err != nil {
			return err
		}
		if path, err = filepath.Abs(path); err != nil {
			return err
		}
		ours[path] = true
	}
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return err
	}
	for _, l := range links {
		// A process that has ended meanwhile is no trace.
		if exe, err := os.Readlink(l); err == nil && ours[exe] {
			found["process "+filepath.Base(filepath.Dir(l))] = true
		}
	}
	return nil
}

func findInterfaces(found traces) error {
	interfaces, err := net.Interfaces()
	for _, i := range interfaces {
		found["interface "+i.Name] = true
	}
	return err
}

func findPins(found traces) error {
	pins, err := filepath.Glob("/sys/fs/bpf/paraxial/*")
	for _, p := range pins {
		found["pin "+p] = true
	}
	return err
}
