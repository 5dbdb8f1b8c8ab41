package daemon

import (
	"slices"
	"testing"
)

// The watchdog hears of every second, and the status only of what is new.
func TestServiceAlive(t *testing.T) {
	var told []string
	s := &service{notify: func(state string) { told = append(told, state) }}
	for _, status := range []string{"a", "a", "b"} {
		s.alive(status)
	}
	want := []string{"WATCHDOG=1\nSTATUS=a", "WATCHDOG=1", "WATCHDOG=1\nSTATUS=b"}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}
