package config

import (
	"reflect"
	"slices"
)

// Diff returns the keys in which two configurations differ, named as in the
// file: those that a reload applies and those that need a restart.
//
// An interface that is added or removed is a change of interfaces. One that
// stays but changes its own mode is reported as interfaces.mode, which needs a
// restart: native and generic XDP exclude each other, so a change leaves the
// interface unfiltered for a moment, and a reload must not do that.
func Diff(old, next Config) (live, restart []string) {
	report := func(k key) {
		if k.live {
			live = append(live, k.name)
		} else {
			restart = append(restart, k.name)
		}
	}
	before := old.keys()
	for n, k := range next.keys() {
		if _, ok := k.value.(*[]Interface); !ok {
			if !reflect.DeepEqual(before[n].value, k.value) {
				report(k)
			}
			continue
		}
		changed, switched := diffInterfaces(old, next)
		if changed {
			report(k)
		}
		if switched {
			report(new(Interface).modeKey())
		}
	}
	return live, restart
}

// diffInterfaces reports whether interfaces were added or removed, and whether one
// that stayed has another mode by its own setting.
func diffInterfaces(old, next Config) (changed, switched bool) {
	stayed := 0
	for _, i := range next.Interfaces {
		was, ok := find(old.Interfaces, i.Name)
		if !ok {
			changed = true
			continue
		}
		stayed++
		if was.Mode != i.Mode && old.ModeOf(was) != next.ModeOf(i) {
			switched = true
		}
	}
	return changed || stayed < len(old.Interfaces), switched
}

// Reload returns the configuration in force after a reload: old, with the values
// that next has of the keys that a reload applies.
func Reload(old, next Config) Config {
	copyLive(old.keys(), next.keys())
	return old
}

func copyLive(to, from []key) {
	for n, k := range to {
		if !k.live {
			continue
		}
		if list, ok := k.value.(*[]Interface); ok {
			*list = reloadInterfaces(*list, *from[n].value.(*[]Interface))
			continue
		}
		reflect.ValueOf(k.value).Elem().Set(reflect.ValueOf(from[n].value).Elem())
	}
}

// reloadInterfaces returns the interfaces of next. Those that were there before keep
// what a reload does not apply.
func reloadInterfaces(old, next []Interface) []Interface {
	list := slices.Clone(next)
	for n := range list {
		if was, ok := find(old, list[n].Name); ok {
			copyLive(was.keys(), list[n].keys())
			list[n] = was
		}
	}
	return list
}

func find(list []Interface, name string) (Interface, bool) {
	at := slices.IndexFunc(list, func(i Interface) bool { return i.Name == name })
	if at < 0 {
		return Interface{}, false
	}
	return list[at], true
}
