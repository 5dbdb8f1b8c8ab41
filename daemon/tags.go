package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/report"
	"github.com/paraxial/paraxial/tags"
)

// setsFolder is the folder in the state directory with the sets that are not in the kernel.
const setsFolder = "sets"

// originSet is the start of the origin of a set of the configuration, in the list of origins.
const originSet = "set:"

// tagsOf returns the names of the sets that have all of p.
func (d *Daemon) tagsOf(p netip.Prefix) []string { return d.tags.Of(p, d.engine.Now()) }

// loadTags reads the sets that the last run had. A set that is damaged comes again from its
// reporter.
func (d *Daemon) loadTags(cfg config.Config) {
	longest := func(name string) time.Duration {
		f, _ := cfg.Feed(name)
		return f.TTL
	}
	if err := d.tags.Load(longest, d.engine.Clock); err != nil {
		d.log.Warn("sets of feeds cannot be read, and are missing until paraxial-agent hands them in again",
			"error", err)
	}
	d.configureTags(cfg)
}

// configureTags puts the sets of the configuration in force, and forgets those of feeds that
// have another use now.
func (d *Daemon) configureTags(cfg config.Config) {
	inline := make([]tags.Inline, 0, len(cfg.Sets))
	for _, s := range cfg.Sets {
		inline = append(inline, tags.Inline{Name: s.Name, Prefixes: s.Prefixes, Proxies: cfg.IsProxySet(s.Name)})
	}
	kept := func(name string) (proxies, ok bool) {
		f, ok := cfg.Feed(name)
		return isProxies(cfg, f), ok && !f.InKernel()
	}
	d.tellTags(d.tags.Configure(inline, kept, d.engine.Clock))
}

// isProxies reports whether detectors, rules and reporters leave the addresses of a feed alone.
func isProxies(cfg config.Config, f config.Feed) bool {
	return f.Use == config.UseProxies || cfg.IsProxySet(f.Name)
}

// expireTags forgets the sets that have ended.
func (d *Daemon) expireTags() {
	names, err := d.tags.Expire(d.engine.Now(), d.engine.Clock)
	if len(names) > 0 {
		d.log.Info("sets of feeds have ended", "sets", strings.Join(names, ", "))
		d.tellTags(err)
	}
}

// tellTags warns that sets cannot be saved, or ends the warning if err is nil.
func (d *Daemon) tellTags(err error) {
	if err != nil {
		err = fmt.Errorf("%w; df %s shows whether the disk is full", err, d.settings().StateDir)
	}
	d.tellProblem("sets", "sets of feeds cannot be saved: ", err)
}

// putTags replaces the set of a feed that is not in the kernel, or changes nothing.
func (r *reporting) putTags(
	ctx context.Context, feed config.Feed, reporter string, s report.Set, list io.Reader,
) (report.Result, error) {
	change := r.changeOf(feed, reporter)
	change.Accept = s.Accept && r.board.Accepted(s.Name)
	wanted, err := readList(change, list, func(control.ImportProgress) {})
	switch {
	case err != nil:
		return report.Result{}, reportError(err)
	case len(wanted.Invalid) > 0:
		return report.Result{}, invalidLine(wanted.Invalid[0].Number, wanted.Invalid[0].Err.Error())
	}
	counts := r.compareTags(s.Name, wanted)
	result := control.ImportResult{Coverage: control.Coverage{
		IPv4: wanted.Share(policy.IPv4), IPv6: wanted.Share(policy.IPv6),
	}}
	out := report.Result{
		Added: counts.Added, Removed: counts.Removed, Unchanged: counts.Unchanged, Renewed: counts.Unchanged,
		Notes: append([]string{}, wanted.Notes()...),
	}
	if err := change.check(wanted.Len() == 0, counts, &result); err != nil {
		out.Held = strings.Join(result.Held, "; ")
		return out, nil
	}
	if err := r.replaceTags(feed, s, wanted, counts); err != nil {
		return report.Result{}, err
	}
	for _, kind := range []policy.Kind{policy.Block, policy.Allow} { // of another use that the feed had
		if err := r.flushKind(ctx, kind, change); err != nil {
			return report.Result{}, reportError(err)
		}
	}
	if change.Accept {
		r.board.Took(s.Name)
	}
	return out, nil
}

func (r *reporting) compareTags(name string, wanted *engine.List) engine.Replaced {
	c := r.tags.Compare(name, wanted.Prefixes())
	return engine.Replaced{Added: c.Added, Removed: c.Removed, Unchanged: c.Unchanged}
}

func (r *reporting) replaceTags(feed config.Feed, s report.Set, wanted *engine.List, counts engine.Replaced) error {
	now := r.engine.Now()
	set := tags.Set{
		Name: s.Name, Generation: s.Generation, Changed: time.Now().UTC().Truncate(time.Second),
		Deadline: policy.After(now, wanted.Longest(feed.TTL)), Proxies: isProxies(r.settings(), feed),
	}
	if old, ok := r.tags.Get(s.Name, now); ok && counts.Added+counts.Removed == 0 {
		set.Changed = old.Changed
	}
	err := r.tags.Replace(set, wanted.Prefixes(), r.engine.Clock)
	if full, ok := errors.AsType[*tags.FullError](err); ok {
		return report.Errorf(control.CodeTooLarge, "nothing was changed: %v", full)
	}
	r.tellTags(err)
	return err
}

func (r *reporting) renewTags(feed config.Feed, generation uint64) error {
	now := r.engine.Now()
	renewed, err := r.tags.Renew(feed.Name, generation, now, policy.After(now, feed.TTL), r.engine.Clock)
	if err == nil && !renewed {
		return notInForce(feed.Name, generation)
	}
	r.tellTags(err)
	return err
}

// tagOrigins returns the sets that are not in the kernel as origins.
func (d *Daemon) tagOrigins() []control.Origin {
	var list []control.Origin
	for _, s := range d.tags.Sets(d.engine.Now()) {
		o := control.Origin{
			Origin: policy.OriginFeed + s.Name, Kind: string(config.UseTag), Entries: s.Entries,
			Changed: s.Changed, Generation: s.Generation,
		}
		if s.Proxies {
			o.Kind = string(config.UseProxies)
		}
		if s.Deadline == policy.Forever {
			o.Origin, o.Forever = originSet+s.Name, s.Entries
		} else {
			at := d.engine.Wall(s.Deadline)
			o.LastExpiry = &at
		}
		list = append(list, o)
	}
	slices.SortFunc(list, func(x, y control.Origin) int { return strings.Compare(x.Origin, y.Origin) })
	return list
}

func invalidLine(number int, text string) error {
	return report.Errorf(report.CodeInvalidRequest, "nothing was changed: line %d: %s", number, text)
}

// flushKind removes the entries of a kind that the origin of a set has.
func (r *reporting) flushKind(ctx context.Context, kind policy.Kind, change listChange) error {
	if r.countOrigin(kind, change.Origin) == 0 {
		return nil
	}
	if _, err := r.emptySet(engine.For(ctx, change.author), kind, change.Origin, change.author); err != nil {
		return changeError(fmt.Errorf("remove the %ss of %s: %w", kind, change.Origin, err))
	}
	return nil
}
