package feeds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/paraxial/paraxial/report"
)

// Bounds of what happens at the same time.
const (
	maxFetches  = 4
	maxCommands = 4
)

// Times of the engine.
const (
	reportEvery = time.Minute // or when something has changed
	reportAfter = time.Second // at the earliest
	longestNap  = 10 * time.Minute
	commandWait = 5 * time.Second // after a failure to ask for commands
)

// Options are what an Engine needs.
type Options struct {
	Dir    string // of the state; each feed has a folder in it
	Sender Sender
	Log    *slog.Logger
	Agent  string // the header User-Agent of requests
}

// Engine keeps feeds fresh.
type Engine struct {
	opts    Options
	env     *environment
	changed chan struct{}
	fetches chan struct{}

	configuring sync.Mutex

	mu       sync.Mutex
	running  map[string]*running
	followed map[string]*followed
}

// running is a subscription with its loop.
type running struct {
	*subscription
	*task
}

// New returns an engine without feeds.
func New(opts Options) *Engine {
	now := func() time.Time { return time.Now().Round(0) } // the clock of the state on disk
	e := &Engine{
		opts: opts,
		env: &environment{
			fetcher: fetcher{agent: opts.Agent, proxy: http.ProxyFromEnvironment, allow: checkPublic, now: now},
			sender:  opts.Sender, now: now, random: rand.Float64,
		},
		changed: make(chan struct{}, 1),
		fetches: make(chan struct{}, maxFetches),
		running: map[string]*running{}, followed: map[string]*followed{},
	}
	e.env.find = func(name string) (*subscription, bool) {
		r, ok := e.find(name)
		if !ok {
			return nil, false
		}
		return r.subscription, true
	}
	return e
}

// Configure replaces the feeds. It keeps those that have not changed, and deletes the state
// of those that are gone. Loops end with ctx.
func (e *Engine) Configure(ctx context.Context, feeds []Feed) error {
	e.configuring.Lock()
	defer e.configuring.Unlock()
	if err := os.MkdirAll(e.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of the state: %w", err)
	}
	e.drop(feeds)
	err := e.follow(ctx, feeds)
	for _, f := range feeds {
		if f.CrowdSec.URL != "" {
			continue
		}
		if _, ok := e.find(f.Name); !ok {
			err = errors.Join(err, e.start(ctx, f))
		}
	}
	e.tell()
	return errors.Join(err, e.removeOthers(feeds))
}

// drop stops the feeds that are not as configured.
func (e *Engine) drop(feeds []Feed) {
	e.mu.Lock()
	old := make([]*running, 0, len(e.running))
	for name, r := range e.running {
		if !slices.Contains(feeds, r.feed) {
			old = append(old, r)
			delete(e.running, name)
		}
	}
	e.mu.Unlock()
	for _, r := range old {
		r.quit()
		r.close()
	}
}

func (e *Engine) start(ctx context.Context, f Feed) error {
	if f.Name == "" || strings.ContainsAny(f.Name, "/\x00") || strings.HasPrefix(f.Name, ".") {
		return fmt.Errorf("feed %q: its name cannot be that of a folder", f.Name)
	}
	s, err := newSubscription(f, filepath.Join(e.opts.Dir, f.Name), e.env)
	if s == nil {
		return fmt.Errorf("feed %s: %w", f.Name, err)
	}
	if err != nil {
		e.opts.Log.Warn("the state of a feed cannot be read and starts anew", "feed", f.Name, "error", err)
	}
	r := &running{subscription: s, task: newTask()}
	e.mu.Lock()
	e.running[f.Name] = r
	e.mu.Unlock()
	r.begin(ctx, func(ctx context.Context) time.Duration {
		e.step(ctx, r)
		return r.wake().Sub(e.env.now())
	})
	return nil
}

// removeOthers deletes the state of feeds that are not configured any more.
func (e *Engine) removeOthers(feeds []Feed) error {
	folders, err := os.ReadDir(e.opts.Dir)
	if err != nil {
		return err
	}
	for _, d := range folders {
		record := filepath.Join(e.opts.Dir, d.Name(), recordName)
		if slices.ContainsFunc(feeds, func(f Feed) bool { return f.Name == d.Name() && f.CrowdSec.URL == "" }) {
			continue
		}
		if _, missing := os.Stat(record); missing == nil {
			err = errors.Join(err, os.RemoveAll(filepath.Dir(record)))
		}
	}
	return err
}

func (e *Engine) find(name string) (*running, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, ok := e.running[name]
	return r, ok
}

// loop does what is due for a feed until ctx is done.
func (e *Engine) step(ctx context.Context, r *running) {
	r.clamp()
	if r.outdated() {
		r.wantSendOnce()
	}
	before, now := r.record(), e.env.now()
	defer func() { e.changedGeneration(r, before.Current) }()
	if !before.Paused && !now.Before(before.NextAt) {
		err := e.fetch(ctx, r)
		e.log(r, before, err)
		e.tell()
	} else if r.sendDue(now) {
		if err := r.deliver(ctx); err != nil && ctx.Err() == nil {
			e.opts.Log.Warn("feed", "name", r.feed.Name, "error", err)
		}
		e.tell()
	}
	if err := r.end(); err != nil {
		e.opts.Log.Warn("feed", "name", r.feed.Name, "error", err)
	}
	if after := r.record(); before.Sent != 0 && after.Sent == 0 {
		e.opts.Log.Warn("the set of a feed has ended, because there was no good answer for its ttl",
			"feed", r.feed.Name, "ttl", r.feed.TTL)
		e.tell()
	}
}

func (e *Engine) fetch(ctx context.Context, r *running) error {
	select {
	case e.fetches <- struct{}{}:
		defer func() { <-e.fetches }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.refresh(ctx)
}

func (e *Engine) log(r *running, before record, err error) {
	st := r.state()
	switch {
	case errors.Is(err, context.Canceled):
	case err != nil:
		e.opts.Log.Warn("a feed could not be refreshed; its set stays until its ttl",
			"feed", r.feed.Name, "error", err, "next", st.NextAt, "ends", st.EndsAt)
	case st.Held != nil && (before.Held == nil || before.Held.Generation != st.Held.Generation):
		e.opts.Log.Warn("a change of a feed is held until it is accepted", "feed", r.feed.Name, "generation",
			st.Held.Generation, "reason", st.Held.Reason, "added", st.Held.Added, "removed", st.Held.Removed)
	case st.Generation != before.Current:
		e.opts.Log.Info("a feed has changed", "feed", r.feed.Name, "generation", st.Generation, "entries", st.Entries,
			"format", st.Format, "notes", strings.Join(st.Notes, ", "))
	default:
		e.opts.Log.Debug("a feed is unchanged", "feed", r.feed.Name, "generation", st.Generation)
	}
}

// tell makes the states be reported.
func (e *Engine) tell() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// States returns the states of all feeds, by name.
func (e *Engine) States() []report.State {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]report.State, 0, len(e.running))
	for _, r := range e.running {
		all = append(all, r.state())
	}
	for _, f := range e.followed {
		all = append(all, f.State())
	}
	slices.SortFunc(all, func(x, y report.State) int { return strings.Compare(x.Name, y.Name) })
	return all
}

// Run reports states and executes commands until ctx is done, and then waits for the loops.
func (e *Engine) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { e.report(ctx) })
	wg.Go(func() { e.commands(ctx) })
	wg.Wait()
	e.configuring.Lock()
	defer e.configuring.Unlock()
	for _, r := range e.running {
		r.quit()
	}
	for _, f := range e.followed {
		f.quit()
	}
}

// report reports the states when they have changed, and otherwise once a minute, because
// the daemon may have been restarted.
func (e *Engine) report(ctx context.Context) {
	failed := false
	for sleep(ctx, reportAfter) {
		err := e.opts.Sender.Report(ctx, e.States())
		if ctx.Err() == nil && err != nil && !failed {
			e.opts.Log.Warn("the daemon does not take reports; this is repeated", "error", err)
		}
		if failed && err == nil {
			e.opts.Log.Info("the daemon takes reports again")
		}
		failed = err != nil
		select {
		case <-ctx.Done():
		case <-e.changed:
		case <-time.After(reportEvery):
		}
	}
}

// sleep returns false if ctx is done first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// commands executes the commands of operators.
func (e *Engine) commands(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxCommands)
	for ctx.Err() == nil {
		c, ok, err := e.opts.Sender.Command(ctx)
		if err != nil {
			sleep(ctx, commandWait)
		}
		if err != nil || !ok {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			answer := report.Answer{}
			var err error
			if answer.Text, err = e.Do(ctx, c); err != nil {
				answer.Error = err.Error()
			}
			if err := e.opts.Sender.Answer(ctx, c.ID, answer); err != nil && ctx.Err() == nil {
				e.opts.Log.Warn("a command could not be answered", "command", c.Verb, "feed", c.Name, "error", err)
			}
			e.tell()
		})
	}
}

// Do executes a command and returns its output.
func (e *Engine) Do(ctx context.Context, c report.Command) (string, error) {
	if f, ok := e.findFollowed(c.Name); ok {
		defer f.nudge()
		return f.Do(ctx, c)
	}
	r, ok := e.find(c.Name)
	if !ok {
		return "", fmt.Errorf("no feed has the name %q in the configuration of paraxial-agent; "+
			"reload it after a change", c.Name)
	}
	defer r.nudge()
	defer e.changedGeneration(r, r.record().Current)
	e.opts.Log.Info("command", "command", c.Verb, "feed", c.Name, "generation", c.Generation)
	switch c.Verb {
	case report.Refresh:
		return r.refreshNow(ctx)
	case report.Accept:
		return r.accept(ctx)
	case report.Rollback:
		return r.rollback(ctx, c.Generation)
	case report.Pause:
		return r.pause(true)
	case report.Resume:
		return r.pause(false)
	case report.Diff:
		return r.diff(c.Generation)
	}
	return "", fmt.Errorf("the command %q is not known", c.Verb)
}

// changedGeneration makes the feeds that leave out the addresses of r hand in their sets, if
// another generation than before is in force.
func (e *Engine) changedGeneration(r *running, before uint64) {
	if r.record().Current == before {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, other := range e.running {
		if slices.Contains(strings.Fields(other.feed.Except), r.feed.Name) {
			other.wantSend()
			other.nudge()
		}
	}
}
