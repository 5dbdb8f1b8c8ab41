package feeds

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/report"
)

type prefix = netip.Prefix

// wantSend makes deliver hand in the set.
func (s *subscription) wantSend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec.Current != 0 {
		s.sendAt, s.sendFail = s.env.now(), 0
	}
}

// wantSendOnce makes deliver hand in the set, unless that is wanted already and may wait after
// a failure.
func (s *subscription) wantSendOnce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sendAt.IsZero() {
		s.sendAt = s.env.now()
	}
}

// deliver hands in the set in force, if that is wanted. A set without a good answer for its
// TTL is not handed in: it has ended.
func (s *subscription) deliver(ctx context.Context) error {
	s.work.Lock()
	defer s.work.Unlock()
	r, now := s.record(), s.env.now()
	s.mu.Lock()
	wanted := !s.sendAt.IsZero()
	s.mu.Unlock()
	left := s.feed.TTL - now.Sub(r.CheckedAt)
	if !wanted || r.Current == 0 || left <= 0 {
		return nil
	}
	s.env.sending.Lock()
	err := s.hand(ctx, r, left, now)
	s.env.sending.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.sendAt, s.sendErr, s.sendFail = time.Time{}, "", 0
		return nil
	}
	err = fmt.Errorf("hand the set to the daemon: %w", err)
	s.sendFail++
	s.sendErr, s.sendAt = err.Error(), now.Add(backOff(firstResend, longestResend, s.sendFail))
	return err
}

// justNow is the age of an answer from which the TTL still counts in full.
const justNow = time.Minute

// hand renews the set if the sender has it, and otherwise puts it.
func (s *subscription) hand(ctx context.Context, r record, left time.Duration, now time.Time) error {
	whole := now.Sub(r.CheckedAt) < justNow
	excepted := s.exceptGenerations()
	if whole && r.Sent == r.Current && !r.Again && !r.current().Timed && r.Excepted == excepted {
		err := s.env.sender.Renew(ctx, s.feed.Name, r.Current)
		if !errors.Is(err, report.ErrUnknown) {
			return err
		}
	}
	leftOut, err := s.readExceptions()
	if err != nil {
		return err
	}
	var damaged error
	changed := 0
	list := leftOut.leaveOut(entries(s.dir, r.Current, left, whole, now), s.feed.MaxEntries, &changed)
	result, err := s.env.sender.Put(ctx, report.Set{
		Name: s.feed.Name, Generation: r.Current, Accept: r.Accepted,
		Entries: func(yield func(report.Entry, error) bool) {
			for e, err := range list {
				damaged = err
				if !yield(e, err) {
					return
				}
			}
		},
	})
	if long, ok := errors.AsType[*exceptError](damaged); ok {
		return long
	}
	if damaged != nil {
		return errors.Join(damaged, s.change(func(r *record) { r.forget(s.env.now()) }))
	}
	if err != nil {
		return err
	}
	if changed > 0 {
		result.Notes = append(result.Notes, fmt.Sprintf("%d left out or split because of except", changed))
	}
	return s.taken(r, result, excepted)
}

// taken notes how the sender took a set.
func (s *subscription) taken(r record, result report.Result, excepted string) error {
	if result.Held == "" {
		return s.change(func(r *record) {
			r.Excepted = excepted
			r.Sent, r.Again, r.Accepted, r.Refused = r.Current, false, false, result.Notes
			if result.Refused > 0 {
				r.Refused = append([]string{fmt.Sprintf("%d refused", result.Refused)}, result.Notes...)
			}
		})
	}
	if r.Sent == r.Current {
		return errors.New("it is held: " + result.Held + "; if that is right, change this bound of the feed")
	}
	held := r.current()
	return s.change(func(r *record) {
		r.hold(held, report.Held{Reason: result.Held, Added: result.Added, Removed: result.Removed})
		// The sender still has the set of before.
		r.Kept = slices.DeleteFunc(r.Kept, func(g generation) bool { return g.Number == held.Number })
		r.Current, r.Accepted = r.Sent, false
		if _, ok := r.generation(r.Sent); !ok {
			r.Current, r.Sent = 0, 0
		}
	})
}

// end forgets that the sender has the set, when its TTL has passed.
func (s *subscription) end() error {
	r := s.record()
	if r.Sent == 0 || s.env.now().Before(r.CheckedAt.Add(s.feed.TTL)) {
		return nil
	}
	return s.change(func(r *record) { r.Sent = 0 })
}

// wake returns the time of the next thing to do.
func (s *subscription) wake() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.env.now()
	next := now.Add(24 * time.Hour)
	if !s.rec.Paused {
		next = earlier(s.rec.NextAt, next)
	}
	ends := s.rec.CheckedAt.Add(s.feed.TTL)
	if s.rec.Sent != 0 {
		next = earlier(ends, next)
	}
	if !s.sendAt.IsZero() && s.rec.Current != 0 && now.Before(ends) {
		next = earlier(s.sendAt, next)
	}
	return next
}

// state returns what is reported of the feed.
func (s *subscription) state() report.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.rec
	g := r.current()
	st := report.State{
		Name: s.feed.Name, URL: shownURL(s.feed.URL), Generation: r.Current, Entries: g.Entries,
		FetchedAt: r.FetchedAt, CheckedAt: r.CheckedAt, ChangedAt: r.ChangedAt, NextAt: r.NextAt,
		Failures: r.Failures, Error: r.Error, Paused: r.Paused, Format: g.Format,
		Notes: slices.Concat(g.Notes, r.Refused),
	}
	if r.Held != nil {
		h := *r.Held
		st.Held = &h
	}
	st.Kept = make([]report.Kept, 0, len(r.Kept))
	for _, k := range r.Kept {
		st.Kept = append(st.Kept, report.Kept{Generation: k.Number, Entries: k.Entries, At: k.At})
	}
	if r.Current != 0 {
		st.EndsAt = r.CheckedAt.Add(s.feed.TTL)
		if st.Ended = !s.env.now().Before(st.EndsAt); st.Ended {
			st.Entries = 0
		}
	}
	if st.Error == "" {
		st.Error = s.sendErr
	}
	if r.Paused {
		st.NextAt = time.Time{}
	}
	return st
}

// sendDue reports whether it is time to hand in the set.
func (s *subscription) sendDue(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.sendAt.IsZero() && s.rec.Current != 0 && !now.Before(s.sendAt) &&
		now.Before(s.rec.CheckedAt.Add(s.feed.TTL))
}
