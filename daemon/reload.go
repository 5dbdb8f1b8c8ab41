package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/loader"
)

// followReloads applies the configuration anew whenever it is asked to.
func (d *Daemon) followReloads(ctx context.Context, o Options) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.Reload:
			o.Notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonicMicroseconds()))
			if err := d.reload(ctx, o); err != nil {
				d.log.Error("reload failed, the old configuration stays in force: " + err.Error())
			}
			o.Notify("READY=1")
		}
	}
}

// monotonicMicroseconds is what the service manager wants with a reload, to
// tell it from an older one.
func monotonicMicroseconds() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano() / int64(time.Microsecond)
}

// reload applies what can be applied to a running daemon, and says what cannot.
// A configuration that is not valid changes nothing.
func (d *Daemon) reload(ctx context.Context, o Options) error {
	next, err := o.Load()
	if err != nil {
		return err
	}
	old := d.settings()
	live, restart := config.Diff(old, next)
	if slices.Contains(live, "interfaces") {
		if err := d.changeInterfaces(ctx, old, next); err != nil {
			return err
		}
	}
	o.Level.Set(next.Log.Level)
	applied := old
	applied.Interfaces, applied.Guard, applied.Events, applied.Log.Level = next.Interfaces, next.Guard, next.Events, next.Log.Level
	applied.Repair = next.Repair
	applied.Detectors, applied.Proxies, applied.ProxiesFile = next.Detectors, next.Proxies, next.ProxiesFile
	applied.Detection.MaxBans, applied.Detection.Breaker = next.Detection.MaxBans, next.Detection.Breaker
	d.cfg.Store(&applied)
	if slices.ContainsFunc(live, func(name string) bool { return strings.HasPrefix(name, "detect") }) {
		if err := d.startDetection(applied); err != nil {
			return err
		}
	}
	d.recheckGuard(ctx)
	if len(restart) > 0 {
		d.log.Warn("these settings changed but need a restart: systemctl restart paraxiald (filtering goes on meanwhile)", "settings", strings.Join(restart, ", "))
	}
	d.log.Info("configuration reloaded", "applied", strings.Join(live, ", "))
	return nil
}

// changeInterfaces attaches to what is new, all or none, and then detaches from
// what has left.
func (d *Daemon) changeInterfaces(ctx context.Context, old, next config.Config) error {
	var added []string
	for _, i := range next.Interfaces {
		if hasInterface(old.Interfaces, i.Name) {
			continue
		}
		if err := d.nics.add(ctx, i, loader.Mode(next.ModeOf(i))); err != nil {
			for _, name := range added {
				if dropErr := d.nics.drop(name); dropErr != nil {
					d.log.Error("take the filter off again", "interface", name, "error", dropErr)
				}
			}
			return err
		}
		added = append(added, i.Name)
	}
	for _, i := range old.Interfaces {
		if hasInterface(next.Interfaces, i.Name) {
			continue
		}
		if err := d.nics.drop(i.Name); err != nil {
			return err
		}
	}
	return nil
}

func hasInterface(list []config.Interface, name string) bool {
	return slices.ContainsFunc(list, func(i config.Interface) bool { return i.Name == name })
}
