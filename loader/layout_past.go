//go:build past

package loader

import "github.com/cilium/ebpf"

// setLayout gives every map another size than in the present version, as an earlier or
// later version would. Tests of upgrades build the daemon with it.
func setLayout(spec *ebpf.CollectionSpec) {
	for name, m := range shared(spec) {
		if !ofOneRun(name) {
			m.MaxEntries *= 2
		}
	}
}
