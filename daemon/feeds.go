package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/metrics"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/report"
)

// Feeds implements control.Backend.
func (d *Daemon) Feeds(context.Context) (control.FeedsStatus, error) {
	var s control.FeedsStatus
	for _, who := range d.settings().Subscribers() {
		present, seen := d.reporting.board.Present(who.Name)
		s.Reporters = append(s.Reporters, control.ReporterStatus{
			Name: who.Name, User: who.User, Present: present, Seen: seen,
		})
	}
	for _, f := range d.settings().Feeds {
		s.Feeds = append(s.Feeds, d.feedStatus(f))
	}
	return s, nil
}

// feedStatus puts together what the daemon knows of a feed and what its reporter tells.
func (d *Daemon) feedStatus(f config.Feed) control.FeedStatus {
	state, by, told := d.reporting.board.State(f.Name)
	if !told {
		state = report.State{Name: f.Name, Notes: []string{}, Kept: []report.Kept{}}
	}
	kind := policy.Block
	if f.Use == config.UseAllow {
		kind = policy.Allow
	}
	s := control.FeedStatus{
		State: state, Use: string(f.Use), Every: policy.FormatTTL(f.Every), TTL: policy.FormatTTL(f.TTL),
		InForce: d.countOrigin(kind, policy.OriginFeed+f.Name), Reporter: by,
	}
	if f.CrowdSec.URL != "" {
		s.Every = policy.FormatTTL(f.CrowdSec.Every)
	}
	if !f.InKernel() {
		set, _ := d.tags.Get(f.Name, d.engine.Now())
		s.InForce = set.Entries
	}
	s.Condition = feedCondition(f, state, told, time.Now())
	return s
}

// feedCondition returns how fresh a feed is.
func feedCondition(f config.Feed, s report.State, told bool, now time.Time) control.FeedCondition {
	old := max(3*f.Every, f.TTL/4)
	if f.CrowdSec.URL != "" {
		old = 3 * f.CrowdSec.Resync
	}
	switch {
	case !told:
		return control.FeedUnknown
	case s.Held != nil && !s.Held.Operator:
		return control.FeedHeld
	case s.Ended:
		return control.FeedEnded
	case s.Paused:
		return control.FeedPaused
	case s.CheckedAt.IsZero() && s.Failures == 0 && s.Error == "":
		return control.FeedWaiting
	case s.CheckedAt.IsZero(), now.Sub(s.CheckedAt) > old:
		return control.FeedStale
	}
	return control.FeedFresh
}

// FeedCommand implements control.Backend.
func (d *Daemon) FeedCommand(ctx context.Context, c control.Caller, r control.FeedCommand) (control.FeedAnswer, error) {
	if _, ok := d.settings().Feed(r.Name); !ok {
		return control.FeedAnswer{}, control.Errorf(control.CodeNotFound, "the configuration has no feed %s", r.Name)
	}
	verb := report.Verb(r.Command)
	if verb != report.Diff {
		d.log.Info("command for a feed", "feed", r.Name, "command", r.Command, "by", c.Author())
	}
	a, err := d.reporting.board.Do(ctx, report.Command{Verb: verb, Name: r.Name, Generation: r.Generation})
	if e, ok := errors.AsType[*report.Error](err); ok {
		return control.FeedAnswer{}, &control.Error{Code: e.Code, Message: e.Message, Status: e.Status}
	}
	if err == nil && a.Error != "" {
		err = control.Errorf(control.CodeRefused, "%s", a.Error)
	}
	return control.FeedAnswer{Text: a.Text}, err
}

// feedWarnings warns of feeds that are held or too old, and of reporters that are gone.
func (d *Daemon) feedWarnings(now time.Time) (list []string) {
	warn := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	cfg := d.settings()
	for _, who := range cfg.Subscribers() {
		present, seen := d.reporting.board.Present(who.Name)
		switch {
		case present || now.Sub(d.started) < report.GoneAfter:
		case seen.IsZero():
			warn("the reporter %s (user %s) has not been there since paraxiald started, and its sets end with their "+
				"ttl: systemctl status paraxial-agent-feeds", who.Name, who.User)
		default:
			warn("the reporter %s (user %s) is gone since %s, and its sets end with their ttl: "+
				"systemctl status paraxial-agent-feeds", who.Name, who.User, seen.UTC().Format(time.RFC3339))
		}
	}
	for _, f := range cfg.Feeds {
		s, _, told := d.reporting.board.State(f.Name)
		switch feedCondition(f, s, told, now) {
		case control.FeedHeld:
			warn("the feed %s is held: %s; look at paraxialctl feeds diff %s, then paraxialctl feeds accept %s",
				f.Name, s.Held.Reason, f.Name, f.Name)
		case control.FeedEnded:
			warn("the set of the feed %s has ended, because there was no good answer for its ttl of %s: %s",
				f.Name, policy.FormatTTL(f.TTL), s.Error)
		case control.FeedStale:
			warn("the feed %s has had no good answer since %s: %s", f.Name, since(s.CheckedAt), s.Error)
		}
	}
	return list
}

func since(t time.Time) string {
	if t.IsZero() {
		return "the agent knows it"
	}
	return t.UTC().Format(time.RFC3339)
}

// feedMetrics returns the feeds and reporters for the metrics.
func (d *Daemon) feedMetrics() (feeds []metrics.Feed, reporters []metrics.Reporter) {
	for _, f := range d.settings().Feeds {
		s := d.feedStatus(f)
		feeds = append(feeds, metrics.Feed{
			Name: f.Name, Entries: s.InForce, Generation: s.Generation,
			Answered: !s.CheckedAt.IsZero(), Age: max(time.Since(s.CheckedAt), 0),
			Held: s.Condition == control.FeedHeld,
			Up:   s.Condition == control.FeedFresh || s.Condition == control.FeedHeld,
		})
	}
	for _, who := range d.settings().Subscribers() {
		present, _ := d.reporting.board.Present(who.Name)
		reporters = append(reporters, metrics.Reporter{Name: who.Name, Present: present})
	}
	return feeds, reporters
}
