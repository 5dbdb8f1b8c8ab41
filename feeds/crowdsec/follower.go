package crowdsec

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/paraxial/paraxial/report"
)

// Times of a follower.
const (
	requestTime  = time.Minute
	longestRetry = time.Minute // after failures; or Every, if that is longer
	endsInSteps  = 8           // of the ttl: the end of a long entry moves so often
)

// Follower follows one source.
type Follower struct {
	source Source
	opts   Options

	work sync.Mutex // held during a step or a command; guards what follows

	book       *book
	known      bool // the book has had all decisions once
	whole      bool // the book has all decisions: changes can follow
	doubted    bool // the last answer to a request for all was short
	delivered  bool // the daemon has the book, but for changed
	changed    map[netip.Prefix]bool
	generation uint64
	held       bool
	accept     bool // an operator has accepted what is held
	resyncAt   time.Time

	mu sync.Mutex // guards state and nextAt
	st report.State
	at time.Time
}

// New returns a follower that has asked nothing yet.
func New(s Source, o Options) *Follower {
	f := &Follower{source: s, opts: o, book: newBook(), changed: map[netip.Prefix]bool{}}
	f.st = report.State{Name: s.Name, URL: s.URL, Format: "CrowdSec", Notes: []string{}, Kept: []report.Kept{}}
	return f
}

// State returns what is reported of the feed.
func (f *Follower) State() report.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := f.st
	st.Notes, st.Kept = slices.Clone(st.Notes), []report.Kept{}
	if !st.CheckedAt.IsZero() {
		st.EndsAt = st.CheckedAt.Add(f.source.TTL)
		if st.Ended = !f.opts.Now().Before(st.EndsAt); st.Ended {
			st.Entries = 0
		}
	}
	if !st.Paused {
		st.NextAt = f.at
	}
	return st
}

// Wake returns the time of the next step.
func (f *Follower) Wake() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.st.Paused {
		return f.opts.Now().Add(24 * time.Hour)
	}
	return f.at
}

// Step asks if that is due, and hands in what has changed.
func (f *Follower) Step(ctx context.Context) error {
	if f.Wake().After(f.opts.Now()) {
		return nil
	}
	return f.step(ctx, false)
}

func (f *Follower) step(ctx context.Context, all bool) error {
	f.work.Lock()
	defer f.work.Unlock()
	err := f.follow(ctx, all)
	deliverErr := f.deliver(ctx)
	f.note(err, deliverErr)
	return errors.Join(err, deliverErr)
}

// follow brings the book up to date. After a failure it asks for everything: the API takes
// changes as told once it has begun to answer.
func (f *Follower) follow(ctx context.Context, all bool) error {
	now := f.opts.Now()
	f.book.expire(now)
	all = all || !f.whole || !now.Before(f.resyncAt)
	f.whole = false
	s, err := f.ask(ctx, all)
	if err != nil {
		return err
	}
	// Durations count from the time of the request, so that a slow answer prolongs nothing.
	if !all {
		f.take(s, now)
		err := f.book.check(f.source.MaxEntries)
		f.whole = err == nil
		return err
	}
	return f.replace(s, now)
}

// take applies changes.
func (f *Follower) take(s stream, now time.Time) {
	changed := func(p netip.Prefix) { f.changed[p] = true }
	for _, d := range s.Deleted {
		f.book.remove(d.ID, changed)
	}
	for _, d := range s.New {
		f.book.put(d, now, changed)
	}
}

// replace takes the answer to a request for all decisions. CrowdSec ends an answer early as if it
// were complete when its database fails. So one that has lost many decisions is not believed
// before the next one says the same.
func (f *Follower) replace(s stream, now time.Time) error {
	fresh := newBook()
	for _, d := range s.New {
		fresh.put(d, now, func(netip.Prefix) {})
	}
	if err := fresh.check(f.source.MaxEntries); err != nil {
		return err
	}
	before, after := len(f.book.ids), len(fresh.ids)
	if float64(after) < float64(before)*(1-f.source.MaxShrink) && !f.doubted {
		f.doubted = true
		return fmt.Errorf("of %d prefixes only %d would be left (max_shrink); CrowdSec is asked again before this "+
			"counts", before, after)
	}
	if f.doubted { // the daemon would hold a set that shrinks so much
		for _, b := range []*book{f.book, fresh} {
			for p := range b.ids {
				f.changed[p] = true
			}
		}
	} else {
		f.delivered = false
	}
	f.book, f.whole, f.known, f.doubted, f.resyncAt = fresh, true, true, false, now.Add(f.source.Resync)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.st.FetchedAt = now
	return nil
}

// deliver hands in what has changed, or the whole set if the daemon does not have it.
func (f *Follower) deliver(ctx context.Context) error {
	for f.delivered && len(f.changed) > 0 {
		err := f.change(ctx)
		switch {
		case errors.Is(err, report.ErrUnknown) && f.held:
			clear(f.changed) // the set is put again when all decisions are read again
		case errors.Is(err, report.ErrUnknown):
			f.delivered = false
		case err != nil:
			return fmt.Errorf("hand changes to the daemon: %w", err)
		}
	}
	if f.delivered || !f.known {
		return nil
	}
	return f.put(ctx)
}

// change hands in some changes.
func (f *Follower) change(ctx context.Context) error {
	c := report.Changes{Name: f.source.Name, Generation: f.generation + 1}
	now := f.opts.Now()
	var some []netip.Prefix
	for p := range f.changed {
		if some = append(some, p); len(some) == report.MaxChanges {
			break
		}
	}
	for _, p := range some {
		if x, ok := f.book.at(p, now); ok {
			c.Put = append(c.Put, f.entry(x, now))
		} else {
			c.Remove = append(c.Remove, p)
		}
	}
	if _, err := f.opts.Sender.Change(ctx, c); err != nil {
		return err
	}
	for _, p := range some {
		delete(f.changed, p)
	}
	f.generation++
	f.touched()
	return nil
}

// put hands in the whole set.
func (f *Follower) put(ctx context.Context) error {
	result, err := f.opts.Sender.Put(ctx, report.Set{
		Name: f.source.Name, Generation: f.generation + 1, Accept: f.accept, Entries: f.entries(f.opts.Now()),
	})
	if err != nil {
		return fmt.Errorf("hand the set to the daemon: %w", err)
	}
	f.hold(result)
	f.accept = false
	if f.held {
		// The next request for all decisions, or an operator, tries again. Until then the daemon
		// may take changes.
		f.delivered = true
		return nil
	}
	f.generation++
	clear(f.changed)
	f.delivered = true
	if result.Added+result.Removed > 0 {
		f.touched()
	}
	return nil
}

// entries yields the bans by prefix.
func (f *Follower) entries(now time.Time) iter.Seq2[report.Entry, error] {
	prefixes := slices.SortedFunc(maps.Keys(f.book.ids), netip.Prefix.Compare)
	return func(yield func(report.Entry, error) bool) {
		for _, p := range prefixes {
			if x, ok := f.book.at(p, now); ok && !yield(f.entry(x, now), nil) {
				return
			}
		}
	}
}

// entry returns the entry of a ban. If that is to last longer than the ttl, its end moves in
// steps, so that most answers change nothing.
func (f *Follower) entry(x ban, now time.Time) report.Entry {
	end := x.until
	if last := now.Add(f.source.TTL); end.After(last) {
		end = last.Truncate(max(f.source.TTL/endsInSteps, time.Second))
	}
	return report.Entry{Prefix: x.prefix, Reason: x.reason, For: max(end.Sub(now), time.Second)}
}
