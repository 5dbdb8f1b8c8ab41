package events

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/paraxial/paraxial/policy"
)

// source is what is counted of a source by one rule.
type source struct {
	prefix     netip.Prefix
	prev, next *source // the order of the last event, in table

	records  []record // those in the window, by time
	points   int      // of all records
	newest   policy.Deadline
	touched  policy.Deadline // when the last event arrived
	quiet    policy.Deadline // an alert was given, and there is no other one before
	ends     int             // ends of connections that need not count
	reporter string
	seen     []Seen // the last events
	cost     int    // as counted in table
}

// record is an event that counts.
type record struct {
	at     policy.Deadline
	value  uint64 // hash of what is distinct
	user   uint64 // hash of the user
	points int32
}

// Bounds of the evidence that events leave.
const (
	maxSeen  = 5
	maxUser  = 64
	maxPath  = 64
	maxWhere = 160
	maxText  = 192
)

// The memory that parts of a source take, in bytes.
const (
	sourceSize = 320 // with its place in the map
	recordSize = 32
	seenSize   = 80
)

// sshd writes one or two lines for the end of a connection. Each failure therefore lets so many
// later events pass that tell of an end. The events of several connections are mixed, so they are
// not told apart.
const (
	endLines = 2
	maxEnds  = 64
)

// counts reports whether an event is a failure, and not only the end of a connection that has
// failed already. The end of a connection without a failure counts once.
func (s *source) counts(end bool) bool {
	switch {
	case !end:
		s.ends = min(s.ends+endLines, maxEnds)
	case s.ends == 0:
		s.ends = endLines - 1
	default:
		s.ends--
		return false
	}
	return true
}

// add counts an event, and reports whether it is in the window that ends with the newest one.
func (s *source) add(rule *Rule, r record) bool {
	s.newest = max(s.newest, r.at)
	if s.newest-r.at >= policy.Deadline(rule.Window) {
		return false
	}
	if rule.Distinct != EachEvent {
		same := func(old record) bool { return old.value == r.value }
		if n := slices.IndexFunc(s.records, same); n >= 0 && s.records[n].at > r.at {
			s.expire(rule)
			return true // the last event of a value counts
		}
		s.removeIf(same)
	}
	at := len(s.records)
	for at > 0 && s.records[at-1].at > r.at {
		at--
	}
	s.records = slices.Insert(s.records, at, r)
	s.points += int(r.points)
	s.expire(rule)
	return true
}

// expire drops the records that have left the window.
func (s *source) expire(rule *Rule) {
	n := 0
	for n < len(s.records) && s.newest-s.records[n].at >= policy.Deadline(rule.Window) {
		s.points -= int(s.records[n].points)
		n++
	}
	s.records = slices.Delete(s.records, 0, n)
}

func (s *source) removeIf(f func(record) bool) {
	s.records = slices.DeleteFunc(s.records, func(r record) bool {
		if !f(r) {
			return false
		}
		s.points -= int(r.points)
		return true
	})
}

// inWindow returns the points that count at a time.
func (s *source) inWindow(rule *Rule, now policy.Deadline) (points int) {
	for _, r := range s.records {
		if now-r.at < policy.Deadline(rule.Window) {
			points += int(r.points)
		}
	}
	return points
}

// note keeps an event as evidence.
func (s *source) note(e *Event, at policy.Deadline, points int) {
	seen := Seen{
		At: at, Points: points, User: cut(e.User, maxUser), Path: cut(e.Path, maxPath),
		Text: cut(e.Text, maxText), Where: cut(e.Where, maxWhere),
	}
	if len(s.seen) == maxSeen {
		copy(s.seen, s.seen[1:])
		s.seen[maxSeen-1] = seen
	} else {
		s.seen = append(s.seen, seen)
	}
}

// cut returns the first bytes of a text, without a part of a character at the end.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	n := most
	for n > most-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return strings.Clone(s[:n]) // the rest of a long text must not stay in memory
}

// size returns the memory that s takes.
func (s *source) size() int {
	n := sourceSize + recordSize*cap(s.records) + seenSize*cap(s.seen)
	for _, e := range s.seen {
		n += len(e.User) + len(e.Path) + len(e.Text) + len(e.Where)
	}
	return n
}

// mostLate is how late an event may come and still count together with those before it, if its
// source is silent meanwhile.
const mostLate = 10 * time.Minute

// isOver reports whether nothing that s holds matters any more.
func (s *source) isOver(rule *Rule, now policy.Deadline) bool {
	return now-s.touched >= policy.Deadline(rule.Window+mostLate) && s.quiet <= now
}

// evidence returns what speaks against s.
func (s *source) evidence(rule *Rule) Evidence {
	ev := Evidence{
		Points: s.points, Limit: rule.Limit, Window: rule.Window, Reporter: s.reporter, Seen: s.seen,
	}
	if len(s.records) > 0 {
		ev.First, ev.Last = s.records[0].at, s.records[len(s.records)-1].at
	}
	slices.SortStableFunc(ev.Seen, func(a, b Seen) int { return cmp.Compare(a.At, b.At) })
	return ev
}
