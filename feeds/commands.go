package feeds

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/paraxial/paraxial/report"
)

// maxDiff is the number of bytes of a diff. The rest is counted.
const maxDiff = 512 << 10

// accept applies the generation that is held.
func (s *subscription) accept(ctx context.Context) (string, error) {
	s.work.Lock()
	r := s.record()
	if r.Held == nil {
		s.work.Unlock()
		return "", errors.New("nothing is held")
	}
	g := *r.HeldAs
	err := s.change(func(r *record) {
		r.release()
		r.enforce(g, s.env.now())
		r.Accepted = true
		if r.Body == g.Number {
			r.CheckedAt = r.AnsweredAt
		}
	})
	s.work.Unlock()
	if err != nil {
		return "", err
	}
	return s.handNow(ctx, fmt.Sprintf("generation %d with %d entries is in force", g.Number, g.Entries))
}

// rollback goes back to an older generation; 0 is the one before. The newer one is held, so
// that the same list does not come back by itself.
func (s *subscription) rollback(ctx context.Context, to uint64) (string, error) {
	s.work.Lock()
	g, err := s.goBack(to)
	s.work.Unlock()
	if err != nil {
		return "", err
	}
	return s.handNow(ctx, fmt.Sprintf("generation %d with %d entries is in force", g.Number, g.Entries))
}

func (s *subscription) goBack(to uint64) (generation, error) {
	r := s.record()
	if to == 0 {
		for _, k := range r.Kept {
			if k.Number < r.Current {
				to = k.Number
			}
		}
	}
	g, ok := r.generation(to)
	switch {
	case to == 0:
		return g, errors.New("there is no older generation")
	case !ok:
		return g, fmt.Errorf("there is no generation %d; feeds %s lists them", to, s.feed.Name)
	case to == r.Current:
		return g, fmt.Errorf("generation %d is in force already", to)
	case to > r.Current:
		return g, fmt.Errorf("generation %d is newer than the one in force; use accept", to)
	}
	from := r.current()
	d, err := s.diffBetween(to, from.Number)
	if err != nil {
		return g, err
	}
	return g, s.change(func(r *record) {
		r.hold(from, report.Held{Reason: "rolled back by an operator", Added: d.added, Removed: d.removed,
			Operator: true})
		r.enforce(g, s.env.now())
		r.Accepted = true
	})
}

func (s *subscription) diffBetween(from, to uint64) (difference, error) {
	return compare(s.dir, from, to, func(byte, prefix) {})
}

// handNow hands in a set for a command. If the daemon does not take it now, the attempt is
// repeated.
func (s *subscription) handNow(ctx context.Context, done string) (string, error) {
	s.wantSend()
	if err := s.deliver(ctx); err != nil {
		return done + ", but not yet applied: " + err.Error(), nil
	}
	st := s.state()
	if st.Held != nil && !st.Held.Operator {
		return "", fmt.Errorf("generation %d is held: %s", st.Held.Generation, st.Held.Reason)
	}
	if st.Ended {
		return done + ", but the set has ended: there was no good answer for its ttl", nil
	}
	return done, nil
}

func (s *subscription) pause(paused bool) (string, error) {
	err := s.change(func(r *record) {
		if r.Paused = paused; !paused {
			r.NextAt = earlier(r.NextAt, s.env.now())
		}
	})
	if paused {
		return fmt.Sprintf("paused; without a refresh the set ends at %s",
			s.record().CheckedAt.Add(s.feed.TTL).UTC().Format("2006-01-02 15:04 MST")), err
	}
	return "resumed", err
}

// refreshNow refreshes for a command.
func (s *subscription) refreshNow(ctx context.Context) (string, error) {
	before := s.record().Current
	if err := s.refresh(ctx); err != nil {
		return "", err
	}
	st := s.state()
	switch {
	case st.Held != nil:
		return fmt.Sprintf("generation %d is held: %s", st.Held.Generation, st.Held.Reason), nil
	case st.Generation == before:
		return fmt.Sprintf("unchanged, %d entries", st.Entries), nil
	}
	return fmt.Sprintf("generation %d, %d entries", st.Generation, st.Entries), nil
}

// diff shows what the generation held would change, or how another one differs from the
// one in force.
func (s *subscription) diff(number uint64) (string, error) {
	s.work.Lock()
	defer s.work.Unlock()
	r := s.record()
	from, to := number, r.Current
	switch {
	case number == 0 && r.Held != nil:
		from, to = r.Current, r.Held.Generation
	case number == 0:
		for _, k := range r.Kept {
			if k.Number < r.Current {
				from = k.Number
			}
		}
	case number > r.Current:
		from, to = r.Current, number
	}
	for _, n := range []uint64{from, to} {
		if _, ok := r.generation(n); n != 0 && !ok {
			return "", fmt.Errorf("there is no generation %d; feeds %s lists them", n, s.feed.Name)
		}
	}
	return s.showDiff(from, to)
}

func (s *subscription) showDiff(from, to uint64) (string, error) {
	var text strings.Builder
	left := 0
	d, err := compare(s.dir, from, to, func(sign byte, p prefix) {
		if text.Len() > maxDiff {
			left++
			return
		}
		fmt.Fprintf(&text, "%c%s\n", sign, p)
	})
	if err != nil {
		return "", err
	}
	if left > 0 {
		fmt.Fprintf(&text, "... and %d more\n", left)
	}
	head := fmt.Sprintf("generation %d to %d: %d added, %d removed\n", from, to, d.added, d.removed)
	return head + text.String(), nil
}
