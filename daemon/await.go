package daemon

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/paraxial/paraxial/config"
)

// At boot drivers find their interfaces while the daemon starts, and nothing
// brings one up before the daemon is ready. So those that are missing are waited
// for, but not for long: what the network manager itself makes (bonds, VLANs) can
// only come later, and is protected when it comes.
const (
	patience = 5 * time.Second
	peek     = 20 * time.Millisecond
)

// await waits until all interfaces are there, or for as long as is sensible.
func (d *Daemon) await(ctx context.Context, interfaces []config.Interface, notify func(string)) {
	missing := missingOf(interfaces)
	if len(missing) == 0 {
		return
	}
	what := strings.Join(missing, ", ")
	d.log.Info("waiting for interfaces", "missing", what, "at most", patience)
	notify("STATUS=waiting for " + what)
	tick := time.NewTicker(peek)
	defer tick.Stop()
	for limit := time.After(patience); len(missing) > 0; missing = missingOf(interfaces) {
		select {
		case <-ctx.Done():
			return
		case <-limit:
			return
		case <-tick.C:
		}
	}
}

func missingOf(interfaces []config.Interface) []string {
	var missing []string
	for _, i := range interfaces {
		if _, err := net.InterfaceByName(i.Name); err != nil {
			missing = append(missing, i.Name)
		}
	}
	return missing
}
