package events

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// model counts in the obvious way: it keeps all events of a source since its last ban.
type model struct {
	rule   Rule
	events []Event
	newest policy.Deadline
	until  policy.Deadline
}

func (m *model) value(e Event) string {
	switch m.rule.Distinct {
	case DistinctUser:
		return e.User
	case DistinctPath:
		return e.Path
	}
	return ""
}

func (m *model) add(now policy.Deadline, e Event) string {
	if m.until > now {
		if e.Success {
			return "success"
		}
		return "held"
	}
	if e.Success {
		if m.rule.Success == ResetSuccess {
			m.events = slices.DeleteFunc(m.events, func(o Event) bool { return o.User == e.User && o.At <= e.At })
		}
		return "success"
	}
	m.newest = max(m.newest, e.At)
	if e.At <= m.newest-policy.Deadline(m.rule.Window) {
		return "old"
	}
	if m.rule.Distinct != EachEvent {
		same := func(o Event) bool { return m.value(o) == m.value(e) }
		if n := slices.IndexFunc(m.events, same); n >= 0 && m.events[n].At > e.At {
			e = m.events[n]
		}
		m.events = slices.DeleteFunc(m.events, same)
	}
	m.events = append(m.events, e)
	points := m.count()
	if points <= m.rule.Limit {
		return fmt.Sprint("counted ", points)
	}
	m.events, m.newest = nil, minTime
	if until := e.At + policy.Deadline(m.rule.For); until > now {
		m.until = until
		return "banned"
	}
	return "old"
}

func (m *model) count() int {
	points := 0
	for _, e := range m.events {
		if e.At > m.newest-policy.Deadline(m.rule.Window) {
			points += max(e.Points, 1)
		}
	}
	return points
}

// TestWindowAgainstModel compares the counter with a model that keeps every event, on random
// events that may come late and in any order.
func TestWindowAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	results := map[string]int{}
	for range 300 {
		r := rule(func(r *Rule) {
			r.Limit, r.For = rng.IntN(12), 2*time.Minute
			r.Distinct = []Distinct{EachEvent, DistinctUser, DistinctPath}[rng.IntN(3)]
			r.Success = []Success{IgnoreSuccess, ResetSuccess}[rng.IntN(2)]
		})
		c := counter(t, Options{Ladder: ladder.New(1000, 0)}, r)
		models := map[netip.Addr]*model{}
		now := start
		for n := range 300 {
			now += policy.Deadline(rng.Int64N(int64(12 * second)))
			e := Event{
				Rule: "login", Address: netip.AddrFrom4([4]byte{198, 51, 100, byte(rng.IntN(2))}),
				At:   now - policy.Deadline(rng.Int64N(int64(150*second)))*policy.Deadline(rng.IntN(2)),
				User: string(rune('a' + rng.IntN(12))), Path: string(rune('a' + rng.IntN(12))),
				Points: rng.IntN(3), Success: rng.IntN(10) == 0,
			}
			m := models[e.Address]
			if m == nil {
				m = &model{rule: r, newest: minTime}
				models[e.Address] = m
			}
			want := m.add(now, e)
			o := c.Add(now, e)
			got := string(o.Result)
			if o.Result == Counted {
				got = fmt.Sprint("counted ", o.Points)
			}
			if got != want {
				t.Fatalf("rule %+v, event %d, %+v: %s, want %s", r, n, e, got, want)
			}
			results[string(o.Result)]++
		}
	}
	for _, r := range []Result{Counted, Banned, Held, Succeeded, Old} {
		if results[string(r)] == 0 {
			t.Errorf("no event was %s: %v", r, results)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, sources := range []int{1, 100, 100_000} {
		b.Run(fmt.Sprint(sources), func(b *testing.B) {
			c := counter(b, Options{}, rule(func(r *Rule) { r.Limit = 50 }))
			addresses := make([]netip.Addr, sources)
			for n := range addresses {
				addresses[n] = netip.AddrFrom4([4]byte{198, byte(51 + n>>16), byte(n >> 8), byte(n)})
			}
			e := Event{Rule: "login", Reporter: "shop", User: "root", Text: "failed password", Where: "auth.log:17"}
			b.ReportAllocs()
			now := start
			for n := 0; b.Loop(); n++ {
				now += second / 1000
				e.Address = addresses[n%sources]
				c.Add(now, e)
			}
		})
	}
}
