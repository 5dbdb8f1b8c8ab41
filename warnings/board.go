// Package warnings holds the problems that an operator should know of, and limits how often
// they are logged.
package warnings

import (
	"maps"
	"slices"
	"sync"
)

// Board holds the warnings that were found last, by subject. Its zero value is empty.
type Board struct {
	mu  sync.Mutex
	all map[string][]string
}

// Set replaces the warnings about a subject and returns those that are new.
func (w *Board) Set(subject string, all []string) (fresh []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range all {
		if !slices.Contains(w.all[subject], s) {
			fresh = append(fresh, s)
		}
	}
	if w.all == nil {
		w.all = make(map[string][]string)
	}
	w.all[subject] = all
	return fresh
}

// List returns the warnings about all subjects.
func (w *Board) List() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, subject := range slices.Sorted(maps.Keys(w.all)) {
		list = append(list, w.all[subject]...)
	}
	return list
}
