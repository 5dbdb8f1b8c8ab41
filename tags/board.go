// Package tags keeps the sets of addresses that are not in the kernel: their names are shown
// with the addresses, and detectors, rules and reporters leave the addresses of some alone. It keeps them on disk,
// so that they are there when the daemon starts.
package tags

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"

	"github.com/paraxial/paraxial/policy"
)

// MostPrefixes bounds the prefixes of all sets together. A million takes 60 MB at most.
const MostPrefixes = 1 << 21

// Set describes a set.
type Set struct {
	Name       string
	Generation uint64
	Changed    time.Time       // when its prefixes changed last
	Deadline   policy.Deadline // when it ends
	Entries    int
	Proxies    bool // detectors, rules and reporters leave its addresses alone
}

// held is a set with its prefixes. It does not change.
type held struct {
	Set
	prefixes *bart.Lite
	file     string // empty: of the configuration, which keeps it
}

// Board has all sets. Look-ups take no lock.
type Board struct {
	dir    string
	most   int
	sets   atomic.Pointer[[]held] // by name
	change sync.Mutex             // held by what replaces sets
}

// New returns a board without sets that keeps its files in dir.
func New(dir string) *Board {
	b := &Board{dir: dir, most: MostPrefixes}
	b.sets.Store(new([]held))
	return b
}

// Changes tells how a set would change.
type Changes struct{ Added, Removed, Unchanged int }

// Compare compares a set with distinct prefixes that would replace it.
func (b *Board) Compare(name string, prefixes iter.Seq[netip.Prefix]) Changes {
	var c Changes
	old, _ := b.find(name)
	for p := range prefixes {
		if old.prefixes != nil && old.prefixes.Get(p) {
			c.Unchanged++
		} else {
			c.Added++
		}
	}
	c.Removed = old.Entries - c.Unchanged
	return c
}

func (b *Board) find(name string) (held, bool) {
	all := *b.sets.Load()
	if at, ok := search(all, name); ok {
		return all[at], true
	}
	return held{}, false
}

func search(all []held, name string) (int, bool) {
	return slices.BinarySearchFunc(all, name, func(h held, name string) int { return strings.Compare(h.Name, name) })
}

// Replace makes prefixes the set, or changes nothing. It saves the set first. It fills in
// Entries.
func (b *Board) Replace(s Set, prefixes iter.Seq[netip.Prefix], clock Clock) error {
	b.change.Lock()
	defer b.change.Unlock()
	h := held{Set: s, prefixes: collect(prefixes)}
	h.Entries = h.prefixes.Size()
	if err := b.fits(h); err != nil {
		return err
	}
	file, err := b.write(h)
	if err != nil {
		return fmt.Errorf("save the set %s: %w", s.Name, err)
	}
	h.file = file
	return b.save(with(*b.sets.Load(), h), clock)
}

func collect(prefixes iter.Seq[netip.Prefix]) *bart.Lite {
	table := new(bart.Lite)
	for p := range prefixes {
		table.Insert(p)
	}
	return table
}

// FullError is the error of a set for which there is no room.
type FullError struct{ Most int }

func (e *FullError) Error() string {
	return fmt.Sprintf("the sets with use: tag and proxies would have more than %d prefixes together: "+
		"leave out some of the lists, or select parts of them", e.Most)
}

func (b *Board) fits(h held) error {
	n := h.Entries
	for _, other := range *b.sets.Load() {
		if other.Name != h.Name {
			n += other.Entries
		}
	}
	if n > b.most {
		return &FullError{b.most}
	}
	return nil
}

// with returns all with h in its place.
func with(all []held, h held) []held {
	all = slices.Clone(all)
	at, ok := search(all, h.Name)
	if ok {
		all[at] = h
		return all
	}
	return slices.Insert(all, at, h)
}

// Renew gives a set another end, if it is in force in this generation.
func (b *Board) Renew(name string, generation uint64, now, deadline policy.Deadline, clock Clock) (bool, error) {
	b.change.Lock()
	defer b.change.Unlock()
	h, ok := b.find(name)
	if !ok || h.Generation != generation || h.Deadline <= now {
		return false, nil
	}
	h.Deadline = deadline
	return true, b.save(with(*b.sets.Load(), h), clock)
}

// Inline is a set of the configuration.
type Inline struct {
	Name     string
	Prefixes []netip.Prefix
	Proxies  bool // as in Set
}

// Configure replaces the sets of the configuration. Of the others it keeps those that kept
// knows, and learns from it whether they are proxies.
func (b *Board) Configure(inline []Inline, kept func(name string) (proxies, ok bool), clock Clock) error {
	b.change.Lock()
	defer b.change.Unlock()
	var all []held
	for _, h := range *b.sets.Load() {
		proxies, ok := kept(h.Name)
		if h.file == "" || !ok {
			continue
		}
		h.Proxies = proxies
		all = append(all, h)
	}
	for _, s := range inline {
		h := held{prefixes: collect(slices.Values(s.Prefixes))}
		h.Set = Set{Name: s.Name, Deadline: policy.Forever, Proxies: s.Proxies}
		h.Entries = h.prefixes.Size()
		all = with(all, h)
	}
	return b.save(all, clock)
}

// Expire forgets the sets that have ended, and returns their names.
func (b *Board) Expire(now policy.Deadline, clock Clock) (names []string, _ error) {
	if !slices.ContainsFunc(*b.sets.Load(), func(h held) bool { return h.Deadline <= now }) {
		return nil, nil
	}
	b.change.Lock()
	defer b.change.Unlock()
	all := slices.DeleteFunc(slices.Clone(*b.sets.Load()), func(h held) bool {
		if h.Deadline <= now {
			names = append(names, h.Name)
		}
		return h.Deadline <= now
	})
	return names, b.save(all, clock)
}

// Of returns the names of the sets in force of which a prefix has all of p.
func (b *Board) Of(p netip.Prefix, now policy.Deadline) (names []string) {
	for _, h := range *b.sets.Load() {
		if now < h.Deadline && h.prefixes.LookupPrefix(p) {
			names = append(names, h.Name)
		}
	}
	return names
}

// Proxy returns the name of a set of proxies in force that has addresses of p.
func (b *Board) Proxy(p netip.Prefix, now policy.Deadline) (name string, ok bool) {
	return b.proxies(now, func(t *bart.Lite) bool { return t.OverlapsPrefix(p) })
}

// BehindProxy reports whether a prefix of a set of proxies in force has all of p.
func (b *Board) BehindProxy(p netip.Prefix, now policy.Deadline) bool {
	_, ok := b.proxies(now, func(t *bart.Lite) bool { return t.LookupPrefix(p) })
	return ok
}

func (b *Board) proxies(now policy.Deadline, has func(*bart.Lite) bool) (name string, ok bool) {
	for _, h := range *b.sets.Load() {
		if h.Proxies && now < h.Deadline && has(h.prefixes) {
			return h.Name, true
		}
	}
	return "", false
}

// Sets returns the sets in force, by name.
func (b *Board) Sets(now policy.Deadline) (sets []Set) {
	for _, h := range *b.sets.Load() {
		if now < h.Deadline {
			sets = append(sets, h.Set)
		}
	}
	return sets
}

// Get returns a set in force.
func (b *Board) Get(name string, now policy.Deadline) (Set, bool) {
	h, ok := b.find(name)
	return h.Set, ok && now < h.Deadline
}
