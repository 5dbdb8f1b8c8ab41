package config

import "reflect"

// Diff returns the keys in which two configurations differ, named as in the
// file: those that a reload can apply and those that need a restart.
//
// An interface that joins or leaves is a live change of interfaces. One that
// stays but changes its own mode needs a restart and is told as
// interfaces.mode: native and generic XDP exclude each other, so that changing
// over leaves the interface unfiltered for a moment, which a reload must not.
func Diff(old, new Config) (live, restart []string) {
	before, after := old.keys(), new.keys()
	for n, k := range after {
		switch {
		case k.name == "interfaces":
			joined, switched := diffInterfaces(old, new)
			if joined {
				live = append(live, "interfaces")
			}
			if switched {
				restart = append(restart, "interfaces.mode")
			}
		case reflect.DeepEqual(before[n].value, k.value):
		case k.live:
			live = append(live, k.name)
		default:
			restart = append(restart, k.name)
		}
	}
	return live, restart
}

// diffInterfaces tells whether interfaces joined or left, and whether one that
// stayed has switched its mode by its own setting.
func diffInterfaces(old, new Config) (joined, switched bool) {
	before := map[string]Interface{}
	for _, i := range old.Interfaces {
		before[i.Name] = i
	}
	for _, i := range new.Interfaces {
		was, stayed := before[i.Name]
		delete(before, i.Name)
		joined = joined || !stayed
		if stayed && was.Mode != i.Mode && old.ModeOf(was) != new.ModeOf(i) {
			switched = true
		}
	}
	return joined || len(before) > 0, switched
}
