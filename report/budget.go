package report

import (
	"sync"
	"time"
)

// bucket is what is left of a rate. Its zero value is full.
type bucket struct {
	spent float64 // what is missing from a full bucket
	at    time.Time
}

// take takes up to n from a bucket that holds most and fills at perSecond. It returns how many
// it got.
func (b *bucket) take(now time.Time, n int, perSecond, most float64) int {
	b.spent = max(0, b.spent-perSecond*now.Sub(b.at).Seconds())
	b.at = now
	got := min(n, max(0, int(most-b.spent)))
	b.spent += float64(got)
	return got
}

// budgets are what reporters have spent, by their names. The zero value is ready to use. Names
// come from the configuration, so there are few.
type budgets struct {
	mu sync.Mutex
	of map[string]*budget
}

type budget struct{ events, bans bucket }

func (b *budgets) get(name string) *budget {
	if b.of == nil {
		b.of = make(map[string]*budget)
	}
	if b.of[name] == nil {
		b.of[name] = &budget{}
	}
	return b.of[name]
}

// events takes up to n events, and returns how many the reporter may report now. A reporter may
// report the events of a second at once.
func (b *budgets) events(r Rights, now time.Time, n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	perSecond := float64(r.EventsPerSecond)
	return b.get(r.Name).events.take(now, n, perSecond, perSecond)
}

// ban reports whether the reporter may ban now. It may make the bans of a minute at once.
func (b *budgets) ban(r Rights, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	most := float64(r.Bans.PerMinute)
	return b.get(r.Name).bans.take(now, 1, most/60, most) == 1
}
