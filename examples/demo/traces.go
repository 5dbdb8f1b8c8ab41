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

// traces are the objects outside the sandbox that a demo could leave behind.
type traces map[string]bool

// settle is how long the kernel may take to free objects that are no longer in use.
const settle = 5 * time.Second

// tracesSince returns new objects, after it has given the kernel time to free them.
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

// eventually calls done until it returns true or an error, or patience has passed.
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

// findProcesses finds processes that run the demo or one of the binaries. A namespace without a
// name lives as long as its processes.
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
		// A process that has ended in the meantime is not a trace.
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
