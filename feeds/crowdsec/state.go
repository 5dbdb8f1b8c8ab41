package crowdsec

import (
	"context"
	"fmt"
	"slices"

	"github.com/paraxial/paraxial/report"
)

// note keeps the outcome of a step for the state, and sets the time of the next one.
func (f *Follower) note(askErr, sendErr error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.opts.Now()
	st := &f.st
	wait := f.source.Every
	switch err := askErr; {
	case err != nil:
		st.Failures++
		st.Error = err.Error()
		for n := 1; n < st.Failures && wait < longestRetry; n++ {
			wait *= 2
		}
		wait = max(min(wait, longestRetry), f.source.Every)
	case sendErr != nil:
		st.Failures, st.Error = st.Failures+1, sendErr.Error()
	default:
		st.Failures, st.Error = 0, ""
	}
	if askErr == nil {
		st.CheckedAt = now
	}
	f.at = now.Add(wait)
	st.Generation, st.Entries = f.generation, len(f.book.ids)
	st.Notes = f.notes()
}

// notes tells of decisions that are no bans.
func (f *Follower) notes() []string {
	notes := []string{}
	for why, n := range f.book.count {
		if why != ended {
			notes = append(notes, fmt.Sprintf("%d %s", n, why))
		}
	}
	slices.Sort(notes)
	return notes
}

// touched notes that the set at the daemon has changed.
func (f *Follower) touched() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.st.ChangedAt = f.opts.Now()
}

// hold notes whether the daemon holds the set.
func (f *Follower) hold(r report.Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held, f.st.Held = r.Held != "", nil
	if f.held {
		f.st.Held = &report.Held{
			Generation: f.generation + 1, Reason: r.Held, Added: r.Added, Removed: r.Removed, Entries: len(f.book.ids),
		}
	}
}

// Do executes a command and returns its output.
func (f *Follower) Do(ctx context.Context, c report.Command) (string, error) {
	switch c.Verb {
	case report.Refresh:
		if err := f.step(ctx, true); err != nil {
			return "", err
		}
	case report.Accept:
		if err := f.acceptHeld(ctx); err != nil {
			return "", err
		}
	case report.Pause, report.Resume:
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.st.Paused = c.Verb == report.Pause; f.st.Paused {
			return "paused: CrowdSec is not asked, and the set ends at its ttl", nil
		}
		return "resumed", nil
	default:
		return "", fmt.Errorf("a feed of CrowdSec has no generations, so there is no %s", c.Verb)
	}
	st := f.State()
	if st.Held != nil {
		return "it is held: " + st.Held.Reason, nil
	}
	return fmt.Sprintf("generation %d, %d entries", st.Generation, st.Entries), nil
}

func (f *Follower) acceptHeld(ctx context.Context) error {
	f.work.Lock()
	defer f.work.Unlock()
	if !f.held {
		return fmt.Errorf("nothing of the feed %s is held", f.source.Name)
	}
	f.accept, f.delivered = true, false
	err := f.deliver(ctx)
	f.note(nil, err)
	return err
}
