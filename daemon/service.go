package daemon

import (
	"context"
	"fmt"
	"strings"
)

// service tells the service manager how the daemon is, every second. It is told by
// the goroutine that lets entries expire and repairs the filter, after it did: if
// that hangs, the watchdog is to know.
type service struct {
	notify func(state string)
	last   string
}

// alive pets the watchdog, and says what the daemon does if that has changed.
func (s *service) alive(status string) {
	state := "WATCHDOG=1"
	if status != s.last {
		state += "\nSTATUS=" + status
		s.last = status
	}
	s.notify(state)
}

// summary is what the daemon does, in a line.
func (d *Daemon) summary(ctx context.Context) string {
	s, err := d.Status(ctx)
	if err != nil {
		return err.Error()
	}
	var on, off []string
	for _, i := range s.Interfaces {
		if i.Protected {
			on = append(on, fmt.Sprintf("%s (%s)", i.Name, i.Mode))
		} else {
			off = append(off, i.Name)
		}
	}
	text := "filtering on no interface"
	if len(on) > 0 {
		text = "filtering on " + strings.Join(on, ", ")
	}
	if len(off) > 0 {
		text += "; NOT PROTECTED: " + strings.Join(off, ", ")
	}
	return fmt.Sprintf("%s; %d blocks, %d allows", text, s.Blocks, s.Allows)
}
