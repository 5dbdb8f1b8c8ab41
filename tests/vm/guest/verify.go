package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
)

var processed = regexp.MustCompile(`processed (\d+) insns`)

// constants are the values that a program can be loaded with, by name.
var constants = map[string]map[string]any{
	"probe": {"probe": true},
	// All kinds, and all ports.
	"tunnels": {"tunnels": uint32(15), "vxlan_ports": [4]uint16{4789, 4790, 8472, 8473},
		"geneve_ports": [4]uint16{6081, 6082, 6083, 6084}},
}

// verify loads all programs of an object, with the named constants set, and returns the number of
// instructions that the verifier processed for the packet filter.
func verify(path string, set ...string) (string, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return "", err
	}
	spec, err := ebpf.LoadCollectionSpec(path)
	if err != nil {
		return "", err
	}
	for _, values := range set {
		for name, value := range constants[values] {
			v := spec.Variables[name]
			if v == nil {
				return "", fmt.Errorf("no variable %s in %s", name, path)
			}
			if err := v.Set(value); err != nil {
				return "", fmt.Errorf("set %s: %w", name, err)
			}
		}
	}
	options := ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}}
	c, err := ebpf.NewCollectionWithOptions(spec, options)
	if err != nil {
		if v, ok := errors.AsType[*ebpf.VerifierError](err); ok {
			return "", fmt.Errorf("%w\n%s", err, strings.Join(v.Log[max(0, len(v.Log)-50):], "\n"))
		}
		return "", err
	}
	defer c.Close()
	p := c.Programs["paraxial"]
	if p == nil {
		return "", fmt.Errorf("no program paraxial in %s", path)
	}
	m := processed.FindStringSubmatch(p.VerifierLog)
	if m == nil {
		return "", fmt.Errorf("the verifier does not report the number of instructions: %q", p.VerifierLog)
	}
	return m[1], nil
}
