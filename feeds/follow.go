package feeds

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/paraxial/paraxial/feeds/crowdsec"
)

// followed is a feed of CrowdSec with its loop.
type followed struct {
	*crowdsec.Follower
	*task
	feed Feed
}

// follow replaces the feeds of CrowdSec. It keeps those that have not changed.
func (e *Engine) follow(ctx context.Context, feeds []Feed) (err error) {
	e.mu.Lock()
	var old []*followed
	for name, f := range e.followed {
		if !slices.Contains(feeds, f.feed) {
			old = append(old, f)
			delete(e.followed, name)
		}
	}
	e.mu.Unlock()
	for _, f := range old {
		f.quit()
	}
	for _, f := range feeds {
		if _, ok := e.findFollowed(f.Name); ok || f.CrowdSec.URL == "" {
			continue
		}
		if startErr := e.startFollowing(ctx, f); startErr != nil {
			err = errors.Join(err, fmt.Errorf("feed %s: %w", f.Name, startErr))
		}
	}
	return err
}

func (e *Engine) findFollowed(name string) (*followed, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f, ok := e.followed[name]
	return f, ok
}

func (e *Engine) startFollowing(ctx context.Context, f Feed) error {
	trusted, err := trustedBy(f.CA)
	if err != nil {
		return err
	}
	client := &http.Client{
		// The API of this host or network needs no proxy, and its key must not go elsewhere.
		Transport: newTransport(trusted),
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects to another address: is it the local API of CrowdSec?")
		},
	}
	follower := crowdsec.New(crowdsec.Source{
		Name: f.Name, URL: f.CrowdSec.URL, KeyFile: f.CrowdSec.KeyFile, Every: f.CrowdSec.Every,
		Resync: f.CrowdSec.Resync, TTL: f.TTL, MaxEntries: f.MaxEntries, MaxBytes: f.MaxBytes, MaxShrink: f.MaxShrink,
	}, crowdsec.Options{Sender: e.opts.Sender, Agent: e.opts.Agent, Client: client, Now: e.env.now})
	r := &followed{follower, newTask(), f}
	e.mu.Lock()
	e.followed[f.Name] = r
	e.mu.Unlock()
	r.begin(ctx, func(ctx context.Context) time.Duration {
		e.followStep(ctx, r)
		return r.Wake().Sub(e.env.now())
	})
	return nil
}

// followStep does what is due for a feed of CrowdSec.
func (e *Engine) followStep(ctx context.Context, f *followed) {
	before := f.State()
	err := f.Step(ctx)
	after := f.State()
	if err != nil && ctx.Err() == nil && after.Error != before.Error {
		e.opts.Log.Warn("CrowdSec could not be followed; its entries stay until their ends",
			"feed", f.feed.Name, "error", err)
	}
	if err == nil && before.Error != "" {
		e.opts.Log.Info("CrowdSec is followed again", "feed", f.feed.Name, "entries", after.Entries)
	}
	if after.Held != nil && before.Held == nil {
		e.opts.Log.Warn("a change of a feed is held until it is accepted", "feed", f.feed.Name,
			"reason", after.Held.Reason)
	}
	if before.Generation != after.Generation || before.Error != after.Error || before.CheckedAt.IsZero() {
		e.tell()
	}
}
