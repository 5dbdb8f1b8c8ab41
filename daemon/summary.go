package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/sdnotify"
)

// statusInterval is the time between two looks at the status.
const statusInterval = 2 * time.Second

// tellStatus tells the service manager what the daemon does, until ctx is done. It logs new
// warnings that follow from the present state.
func (d *Daemon) tellStatus(ctx context.Context, m *sdnotify.Manager) {
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			m.Status(d.summary())
			d.warnOfRoom()
		}
	}
}

// logStart logs on which interfaces the filter is in force after a start.
func logStart(log *slog.Logger, interfaces []control.InterfaceStatus, took time.Duration) {
	var protected, other []string
	for _, i := range interfaces {
		if i.Protected {
			protected = append(protected, i.Name)
		} else {
			other = append(other, i.Name)
		}
	}
	t := slog.Duration("took", took.Round(time.Millisecond))
	switch {
	case len(other) == 0:
		log.Info("filter in force", "interfaces", protected, t)
	case len(protected) > 0:
		log.Warn("filter in force, but not on all interfaces", "interfaces", protected, "unprotected", other, t)
	default:
		log.Error("filter not in force: no interface is protected yet", "unprotected", other, t)
	}
}

// summary returns the text for systemctl status.
func (d *Daemon) summary() string {
	blocks, allows := d.count()
	return summaryOf(d.nics.status(), blocks, allows, d.allWarnings())
}

// summaryOf puts unprotected interfaces first, because the text is one line that may be cut.
// Of the warnings it has the first.
func summaryOf(interfaces []control.InterfaceStatus, blocks, allows int, warnings []string) string {
	var bad, good []string
	for _, i := range interfaces {
		if i.Protected {
			good = append(good, fmt.Sprintf("%s (%s)", i.Name, i.Mode))
		} else {
			bad = append(bad, fmt.Sprintf("%s: %s", i.Name, i.Note))
		}
	}
	var parts []string
	if len(bad) > 0 {
		parts = append(parts, "NOT protecting "+strings.Join(bad, ", "))
	}
	if len(good) > 0 {
		parts = append(parts, "protecting "+strings.Join(good, ", "))
	}
	parts = append(parts, amount(blocks, "block", "blocks")+", "+amount(allows, "allow", "allows"))
	if len(warnings) > 0 {
		parts = append(parts, fmt.Sprintf("warnings: %d, see paraxialctl status: %s", len(warnings), warnings[0]))
	}
	return strings.Join(parts, "; ")
}
