package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// traces are the things on this machine that a demo could leave behind.
type traces map[string]bool

// settle is how long the kernel may take to free what nobody holds any more.
const settle = 5 * time.Second

// tracesSince returns what was not there before, once the kernel has had the
// time to free it.
func tracesSince(before traces) ([]string, error) {
	for deadline := time.Now().Add(settle); ; time.Sleep(50 * time.Millisecond) {
		found, err := findTraces()
		if err != nil {
			return nil, err
		}
		maps.DeleteFunc(found, func(name string, _ bool) bool { return before[name] })
		if len(found) == 0 || time.Now().After(deadline) {
			return slices.Sorted(maps.Keys(found)), nil
		}
	}
}

func findTraces() (traces, error) {
	found := traces{}
	for _, find := range []func(traces) error{findProcesses, findInterfaces, findPrograms, findLinks, findPins} {
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
	for _, file := range []string{"/proc/self/exe", filepath.Join(binDir, "paraxiald"), filepath.Join(binDir, "paraxialctl")} {
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

func findPrograms(found traces) error {
	id := ebpf.ProgramID(0)
	for {
		var err error
		if id, err = ebpf.ProgramGetNextID(id); errors.Is(err, os.ErrNotExist) {
			return nil
		} else if err != nil {
			return fmt.Errorf("list BPF programs: %w", err)
		}
		if name, ok := programName(id); ok && name == "paraxial" {
			found[fmt.Sprintf("BPF program %d", id)] = true
		}
	}
}

// programName returns false for a program that is gone meanwhile.
func programName(id ebpf.ProgramID) (string, bool) {
	p, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return "", false
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return "", false
	}
	return info.Name, true
}

func findLinks(found traces) error {
	links := new(link.Iterator)
	defer links.Close()
	for links.Next() {
		info, err := links.Link.Info()
		if err == nil && info.Type == link.XDPType {
			found[fmt.Sprintf("BPF link %d", info.ID)] = true
		}
	}
	return links.Err()
}

func findPins(found traces) error {
	pins, err := filepath.Glob("/sys/fs/bpf/paraxial/*")
	for _, p := range pins {
		found["pin "+p] = true
	}
	return err
}
