package warnings

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The warnings about one subject do not replace those about another.
func TestWarningsBySubject(t *testing.T) {
	var w Board
	if fresh := w.Set("b", []string{"b1", "b2"}); !slices.Equal(fresh, []string{"b1", "b2"}) {
		t.Errorf("new: %q", fresh)
	}
	w.Set("a", []string{"a1"})
	if fresh := w.Set("b", []string{"b2", "b3"}); !slices.Equal(fresh, []string{"b3"}) {
		t.Errorf("new: %q", fresh)
	}
	if all := w.List(); !slices.Equal(all, []string{"a1", "b2", "b3"}) {
		t.Errorf("all: %q", all)
	}
	w.Set("b", nil)
	if all := w.List(); !slices.Equal(all, []string{"a1"}) {
		t.Errorf("all: %q", all)
	}
}

func TestProblem(t *testing.T) {
	var p Problem
	for _, tc := range []struct {
		err  error
		want string
	}{{nil, ""}, {errors.New("one\ntwo"), "one; two"}, {nil, ""}} {
		if p.Set(tc.err); p.String() != tc.want {
			t.Errorf("%v: %q, want %q", tc.err, p.String(), tc.want)
		}
	}
}

// Each subject is due once in the interval.
func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		first, again, other := l.Due("a"), l.Due("a"), l.Due("b")
		time.Sleep(Every)
		if later := l.Due("a"); !first || again || !other || !later {
			t.Errorf("first %t, again %t, another subject %t, later %t", first, again, other, later)
		}
	})
}

// Saves counts all failures, logs the first one of each minute, and logs the end of them once.
func TestSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Saves
		var logged bytes.Buffer
		log := slog.New(slog.NewTextHandler(&logged, nil))
		full := errors.New("no space left on device")
		for _, step := range []struct {
			err   error
			wait  time.Duration
			lines int
		}{{nil, 0, 0}, {full, 0, 1}, {full, 0, 1}, {full, Every, 2}, {nil, 0, 3}, {nil, 0, 3}, {full, 0, 4}} {
			time.Sleep(step.wait)
			s.Note(log, "/var/lib/x", step.err)
			if n := strings.Count(logged.String(), "\n"); n != step.lines || (s.String() != "") != (step.err != nil) {
				t.Errorf("%+v: problem %q, %d lines:\n%s", step, s.String(), n, &logged)
			}
		}
		if s.Failed() != 4 {
			t.Errorf("%d failures, want 4", s.Failed())
		}
	})
}
