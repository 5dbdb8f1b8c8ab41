//go:build past

package loader

import "github.com/cilium/ebpf"

// setLayout makes every map unlike those of the present version, as in one that
// was before or comes after it. Tests of upgrades build the daemon with it.
func setLayout(spec *ebpf.CollectionSpec) {
	for name, m := range shared(spec) {
		if !ofOneRun(name) {
			m.MaxEntries *= 2
		}
	}
}
