package feeds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/paraxial/paraxial/report"
)

// subscription is a feed with its state.
type subscription struct {
	feed Feed
	dir  string
	env  *environment

	// work is held by what changes the record, but not during a request, so that a slow
	// server does not delay a command.
	work     sync.Mutex
	fetching sync.Mutex

	mu       sync.Mutex // guards what follows
	rec      record
	sendErr  string
	sendAt   time.Time // the next attempt to hand in the set; zero: nothing to hand in
	sendFail int
	closed   bool // by a change of the configuration
}

// environment is what all subscriptions share.
type environment struct {
	fetcher fetcher
	sender  Sender
	now     func() time.Time
	random  func() float64
	parsing sync.Mutex // one list at a time is in memory
	sending sync.Mutex // the daemon takes one set at a time

	find func(name string) (*subscription, bool) // another feed
}

// newSubscription reads the state in dir, which it makes if there is none. The error may
// come with a usable subscription: a state that cannot be read is as good as none.
func newSubscription(f Feed, dir string, env *environment) (*subscription, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	rec, err := loadRecord(dir)
	s := &subscription{feed: f, dir: dir, env: env, rec: rec}
	if s.rec.Fingerprint != f.fingerprint() {
		s.rec.NextAt = env.now()
	}
	if s.rec.Current != 0 && s.rec.Sent != s.rec.Current {
		s.sendAt = env.now()
	}
	return s, err
}

// clamp corrects times that cannot be, because the clock was wrong or has been set.
func (s *subscription) clamp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, now := &s.rec, s.env.now()
	r.NextAt = earlier(r.NextAt, now.Add(max(2*s.feed.Every, maxRetryAfter)))
	r.CheckedAt, r.AnsweredAt = earlier(r.CheckedAt, now), earlier(r.AnsweredAt, now)
	r.FetchedAt = earlier(r.FetchedAt, now)
}

func earlier(x, y time.Time) time.Time {
	if x.After(y) {
		return y
	}
	return x
}

// change changes the record, and saves it.
func (s *subscription) change(f func(r *record)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	f(&s.rec)
	return s.rec.save(s.dir)
}

func (s *subscription) record() record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rec
}

var errClosed = errors.New("the configuration of the feed has changed meanwhile; try again")

// close keeps a command that still runs from changing the state, which may be another
// subscription's from now on.
func (s *subscription) close() {
	s.work.Lock()
	defer s.work.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// refresh asks for the list, and hands in what has changed.
func (s *subscription) refresh(ctx context.Context) error {
	s.fetching.Lock()
	defer s.fetching.Unlock()
	before := s.record()
	// A list that makes the process end counts as a failure, so that it is not asked for
	// at once by the next process.
	if err := s.change(func(r *record) { s.fail(r, errUnfinished) }); err != nil {
		return err
	}
	err := s.fetchAndTake(ctx, before)
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), s.change(func(r *record) {
			r.NextAt, r.Failures, r.Error = before.NextAt, before.Failures, before.Error
		}))
	}
	if err != nil {
		return errors.Join(err, s.change(func(r *record) {
			r.Failures = before.Failures
			s.fail(r, err)
		}))
	}
	if r := s.record(); r.Again || r.Sent != r.Current || r.CheckedAt.After(before.CheckedAt) {
		s.wantSend()
	}
	return s.deliver(ctx)
}

var errUnfinished = errors.New("the last request was not completed")

func (s *subscription) fail(r *record, err error) {
	var retry time.Duration
	if a, ok := errors.AsType[*answerError](err); ok {
		retry = a.retry
	}
	r.Failures++
	r.Error = err.Error()
	r.NextAt = s.env.now().Add(nextRetry(s.feed.Every, r.Failures, retry, s.env.random()))
}

// known returns the condition of a request.
func (s *subscription) known(r record) condition {
	_, onDisk := r.generation(r.Body)
	old := s.env.now().Sub(r.FetchedAt) > rereadAfter // a server may say 304 for ever
	if r.Fingerprint != s.feed.fingerprint() || !onDisk || old {
		return condition{}
	}
	return r.Condition
}

func (s *subscription) fetchAndTake(ctx context.Context, before record) error {
	file, err := os.CreateTemp(s.dir, tempPrefix)
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	b, err := s.env.fetcher.fetch(ctx, s.feed, s.known(before), file)
	if err != nil {
		return err
	}
	s.work.Lock()
	defer s.work.Unlock()
	if s.closed {
		return errClosed
	}
	if b.unchanged {
		return s.change(func(r *record) { s.answered(r) })
	}
	return s.take(b, file)
}

// answered notes an answer by which the last body still is the list.
func (s *subscription) answered(r *record) {
	now := s.env.now()
	if print := s.feed.fingerprint(); r.Fingerprint != print {
		r.Fingerprint, r.Again = print, true
	}
	r.AnsweredAt, r.Failures, r.Error = now, 0, ""
	r.NextAt = now.Add(nextGood(s.feed.Every, s.env.random()))
	// A body that is held says nothing about the set in force, unless an operator chose
	// to go back to that.
	if r.Body == r.Current || r.Held != nil && r.Held.Operator && r.Body == r.Held.Generation {
		r.CheckedAt = now
	}
}

// take reads a new body.
func (s *subscription) take(b body, file *os.File) error {
	s.env.parsing.Lock()
	defer s.env.parsing.Unlock()
	if _, err := file.Seek(0, 0); err != nil {
		return err
	}
	fresh, err := readSet(file, s.feed, b, s.env.now())
	if err != nil {
		return err
	}
	name, g, err := saveGeneration(s.dir, fresh)
	if err != nil {
		return err
	}
	defer os.Remove(name) // if it was not renamed
	r := s.record()
	g.At = s.env.now()
	switch current := r.current(); {
	case r.Current != 0 && g.Digest == current.Digest:
		g = current
	case r.HeldAs != nil && g.Digest == r.HeldAs.Digest:
		g = *r.HeldAs
	default:
		g.Number = r.Last + 1
		if err := rename(name, filepath.Join(s.dir, genName(g.Number))); err != nil {
			return err
		}
	}
	reason := suspicious(s.feed, r.current().Entries, fresh)
	return s.judge(g, b, reason)
}

// judge decides what becomes of the generation that a body gave.
func (s *subscription) judge(g generation, b body, reason string) error {
	r := s.record()
	var d difference
	if reason != "" && g.Number > r.Last {
		var err error
		if d, err = s.diffCurrent(r, g.Number); err != nil {
			return err
		}
	}
	return s.change(func(r *record) {
		now := s.env.now()
		isNew := g.Number > r.Last
		switch {
		case g.Number == r.Current:
			r.release()
		case !isNew && (reason != "" || r.Held.Operator || r.Fingerprint == s.feed.fingerprint()):
			// It is the one that is held. It stays so, unless a guard held it and the bounds
			// are others now.
		case reason != "":
			r.hold(g, report.Held{Reason: reason, Added: d.added, Removed: d.removed})
		default:
			r.release()
			r.enforce(g, now)
		}
		r.Last = max(r.Last, g.Number)
		r.Condition, r.Body, r.FetchedAt = b.condition, g.Number, now
		s.answered(r)
	})
}

// diffCurrent compares a generation with the one in force. If the file of that is damaged,
// everything is new.
func (s *subscription) diffCurrent(r record, number uint64) (difference, error) {
	ignore := func(byte, prefix) {}
	d, err := compare(s.dir, r.Current, number, ignore)
	if err != nil {
		d, err = compare(s.dir, 0, number, ignore)
	}
	if err != nil {
		return d, fmt.Errorf("compare with generation %d: %w", r.Current, err)
	}
	return d, nil
}
