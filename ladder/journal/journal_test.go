package journal

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// storm is a journal that writes to a buffer.
type storm struct {
	*Journal
	log bytes.Buffer
	now policy.Deadline
}

func newStorm() *storm {
	s := &storm{now: policy.Deadline(time.Hour)}
	s.Journal = New(slog.New(slog.NewTextHandler(&s.log, nil)), "detector")
	return s
}

// ticks logs a number of decisions at each of count ticks, four of which are a second.
func (s *storm) ticks(count, decisions int) {
	for range count {
		s.now += policy.Deadline(time.Second / 4)
		s.Turn(s.now)
		for n := range decisions {
			source := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 32)
			s.Decision(Decision{
				Kind: ladder.Made, Name: "flood", Source: source, Action: "shadow", Tripped: true, For: time.Minute,
			})
		}
	}
}

// lines returns the lines so far, and how many decisions they tell of.
func (s *storm) lines(t *testing.T) (lines, decisions int) {
	for line := range strings.Lines(s.log.String()) {
		lines++
		_, rest, summary := strings.Cut(line, " decisions=")
		if !summary {
			decisions++
			continue
		}
		number, _, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(number)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		decisions += n
	}
	return lines, decisions
}

// A storm of decisions has a line a second, which counts all of them.
func TestJournalOfAStorm(t *testing.T) {
	const seconds = 40
	s := newStorm()
	s.ticks(4*seconds, 100)
	s.Flush()
	lines, decisions := s.lines(t)
	if most := linesPerSecond + seconds + 2; lines > most {
		t.Errorf("%d lines in %d s, want %d at most", lines, seconds, most)
	}
	if want := 4 * seconds * 100; decisions != want {
		t.Errorf("the log tells of %d decisions, want %d", decisions, want)
	}
	for _, want := range []string{`counts="flood: 400 new shadow (breaker)"`, "10.0.0.0/32 10.0.0.1/32"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log does not have %s:\n%.2000s", want, s.log.String())
		}
	}
}

// A few decisions have a line each, also after a storm.
func TestJournalOfAFewDecisions(t *testing.T) {
	s := newStorm()
	s.ticks(4, 100)
	s.ticks(8, 0)
	s.log.Reset()
	s.ticks(40, 2)
	s.Flush()
	if lines, decisions := s.lines(t); lines != 80 || decisions != 80 {
		t.Errorf("%d lines of %d decisions, want 80 lines of one each", lines, decisions)
	}
}
