package daemon

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/loader"
)

// At boot, drivers create interfaces while the daemon starts, and no interface is
// brought up before the daemon is ready. So the daemon waits for missing interfaces.
// It does not wait long: the network manager creates bonds and VLANs only after the
// daemon is ready. They are protected when they appear.
const (
	patience = 5 * time.Second       // longest wait
	peek     = 20 * time.Millisecond // between checks for missing interfaces
)

// attachAll attaches to the interfaces that exist, then waits for the others.
func (s *nics) attachAll(ctx context.Context, cfg config.Config, status func(string)) error {
	var missing []config.Interface
	for _, i := range cfg.Interfaces {
		err := s.add(ctx, i, loader.Mode(cfg.ModeOf(i)))
		if errors.Is(err, loader.ErrNoInterface) {
			missing = append(missing, i)
			continue
		}
		if err != nil {
			return err
		}
	}
	s.await(ctx, missing, status)
	for _, i := range missing {
		mode := loader.Mode(cfg.ModeOf(i))
		err := s.add(ctx, i, mode)
		if errors.Is(err, loader.ErrNoInterface) {
			err = s.expect(i, mode, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// await waits until all interfaces exist, but no longer than patience.
func (s *nics) await(ctx context.Context, interfaces []config.Interface, status func(string)) {
	missing := absent(interfaces)
	if len(missing) == 0 {
		return
	}
	names := strings.Join(missing, ", ")
	s.log.Info("waiting for interfaces", "missing", names, "at_most", patience)
	status("waiting for " + names)
	tick := time.NewTicker(peek)
	defer tick.Stop()
	for limit := time.After(patience); len(missing) > 0; missing = absent(interfaces) {
		select {
		case <-ctx.Done():
			return
		case <-limit:
			return
		case <-tick.C:
		}
	}
}

// absent returns the names of the interfaces that do not exist.
func absent(interfaces []config.Interface) []string {
	var names []string
	for _, i := range interfaces {
		if _, err := net.InterfaceByName(i.Name); err != nil {
			names = append(names, i.Name)
		}
	}
	return names
}
