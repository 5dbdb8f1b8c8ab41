package crowdsec

import (
	"fmt"
	"net/netip"
	"time"
)

// book has the bans by the IDs of their decisions. A prefix is banned as long as one of them
// lasts.
type book struct {
	bans  map[int64]ban
	ids   map[netip.Prefix][]int64
	count map[string]int // decisions that are no bans, by the reason
}

func newBook() *book {
	return &book{bans: map[int64]ban{}, ids: map[netip.Prefix][]int64{}, count: map[string]int{}}
}

// put adds a decision. It may replace one with the same ID. changed is called with the prefixes
// whose bans change.
func (b *book) put(d decision, now time.Time, changed func(netip.Prefix)) {
	x, why := banOf(d, now)
	if why != "" {
		b.count[why]++
		return
	}
	if old, ok := b.bans[d.ID]; ok && old.prefix != x.prefix {
		b.remove(d.ID, changed)
	}
	if _, ok := b.bans[d.ID]; !ok {
		b.ids[x.prefix] = append(b.ids[x.prefix], d.ID)
	}
	b.bans[d.ID] = x
	changed(x.prefix)
}

// remove removes a decision, which may be unknown or removed already.
func (b *book) remove(id int64, changed func(netip.Prefix)) {
	x, ok := b.bans[id]
	if !ok {
		return
	}
	delete(b.bans, id)
	rest := b.ids[x.prefix][:0]
	for _, other := range b.ids[x.prefix] {
		if other != id {
			rest = append(rest, other)
		}
	}
	if b.ids[x.prefix] = rest; len(rest) == 0 {
		delete(b.ids, x.prefix)
	}
	changed(x.prefix)
}

// at returns the ban of a prefix that lasts longest.
func (b *book) at(p netip.Prefix, now time.Time) (longest ban, ok bool) {
	for _, id := range b.ids[p] {
		if x := b.bans[id]; x.until.After(now) && x.until.After(longest.until) {
			longest, ok = x, true
		}
	}
	return longest, ok
}

// mostDecisions is how many decisions there may be for each prefix, on average.
const mostDecisions = 4

// check returns an error if the book has too many bans.
func (b *book) check(most int) error {
	switch {
	case len(b.ids) > most:
		return fmt.Errorf("CrowdSec has bans of %d prefixes, more than %d; raise max_entries of the feed", len(b.ids),
			most)
	case len(b.bans) > mostDecisions*most:
		return fmt.Errorf("CrowdSec has %d bans, more than %d times max_entries of the feed; raise it", len(b.bans),
			mostDecisions)
	}
	return nil
}

// expire removes the bans that have ended. The daemon ends their entries by itself.
func (b *book) expire(now time.Time) {
	for id, x := range b.bans {
		if !x.until.After(now) {
			b.remove(id, func(netip.Prefix) {})
		}
	}
}
