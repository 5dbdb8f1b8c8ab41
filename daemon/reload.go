package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/sdnotify"
)

// followReloads reloads the configuration on each request, until ctx is done.
func (d *Daemon) followReloads(ctx context.Context, o Options, manager *sdnotify.Manager) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.Reload:
			manager.Reloading()
			if err := d.reload(ctx, o); err != nil {
				d.log.Error("reload failed, the old configuration stays in force: " + err.Error())
			}
			manager.Ready()
		}
	}
}

// reload applies the settings that a running daemon can change, and logs those that need
// a restart. A configuration that is invalid, or that cannot be applied completely,
// changes nothing.
func (d *Daemon) reload(ctx context.Context, o Options) error {
	next, err := o.Load()
	if err != nil {
		return err
	}
	live, restart := config.Diff(d.settings(), next)
	now := config.Reload(d.settings(), next)
	if err := d.change(ctx, now, live); err != nil {
		return err
	}
	o.Level.Set(now.Log.Level)
	d.configureTags(now)
	d.recheckGuard(ctx)
	if len(restart) > 0 {
		d.log.Warn("these settings changed but need a restart: systemctl restart paraxiald "+
			"(filtering continues meanwhile)",
			"settings", strings.Join(restart, ", "))
	}
	d.log.Info("configuration reloaded", "applied", strings.Join(live, ", "))
	return nil
}

// change puts a configuration in force that differs from the present one in live keys
// only. After an error, everything is as before. Interfaces are removed last, so that
// none loses its filter while another step can still fail.
func (d *Daemon) change(ctx context.Context, now config.Config, live []string) (err error) {
	var back []func() error
	defer func() {
		if err == nil {
			return
		}
		for _, undo := range slices.Backward(back) {
			if undoErr := undo(); undoErr != nil {
				err = errors.Join(err, fmt.Errorf("undo the reload: %w; run systemctl restart paraxiald", undoErr))
			}
		}
	}()
	old := d.settings()
	for _, i := range without(now.Interfaces, old.Interfaces) {
		if err := d.nics.add(ctx, i, loader.Mode(now.ModeOf(i))); err != nil {
			return err
		}
		back = append(back, func() error { return d.nics.drop(i.Name) })
	}
	// Detectors read the proxies from these settings, so they are stored before detectors start.
	d.cfg.Store(&now)
	back = append(back, func() error { d.cfg.Store(&old); return nil })
	if now.Essential != old.Essential {
		back = append(back, func() error { return d.loader.SetEssential(old.Essential == config.EssentialOn) })
		if err := d.loader.SetEssential(now.Essential == config.EssentialOn); err != nil {
			return err
		}
	}
	decides := func(name string) bool { return name == "rules" || strings.HasPrefix(name, "detect") }
	if slices.ContainsFunc(live, decides) {
		back = append(back, func() error { return d.startDetection(old) })
		d.ruling.ready(now)
		if err := d.startDetection(now); err != nil {
			return err
		}
	}
	for _, i := range without(old.Interfaces, now.Interfaces) {
		if err := d.nics.drop(i.Name); err != nil {
			return err
		}
		back = append(back, func() error { return d.nics.add(ctx, i, loader.Mode(old.ModeOf(i))) })
	}
	return nil
}

// without returns the interfaces of list whose names are not among others.
func without(list, others []config.Interface) (rest []config.Interface) {
	for _, i := range list {
		if !hasInterface(others, i.Name) {
			rest = append(rest, i)
		}
	}
	return rest
}

func hasInterface(list []config.Interface, name string) bool {
	return slices.ContainsFunc(list, func(i config.Interface) bool { return i.Name == name })
}
