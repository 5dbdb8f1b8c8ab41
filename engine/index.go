package engine

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/paraxial/paraxial/index"
	"github.com/paraxial/paraxial/policy"
)

const (
	// patchMost is the largest change, in prefixes, that is patched into the
	// index. A build costs about half a microsecond an entry, a patch a few
	// microseconds a prefix.
	patchMost = 20_000
	// waitMost is the largest change, in prefixes, that does not wait for a build
	// if the index has no room for it. A larger one is a list, and it waits.
	waitMost = 256
	// A generation is replaced after more than driftLeast + nodes/driftShare
	// changed prefixes, even if it reports room: one part of it may be full, which
	// the total does not show.
	driftLeast = 24
	driftShare = 10
	// The next generation is begun when less than 1/roomShare of the room of the
	// current one is left.
	roomShare = 4
)

// indexes keeps the index in front of the tries in step with the book, one
// generation per family. The caller of any method but hold, renew and close holds
// change.
type indexes struct {
	log    *slog.Logger
	kernel Publisher
	change sync.Locker // the engine's turn: only its holder changes the book
	v4     family
	v6     family

	drafts sync.WaitGroup
	held   bool // no draft is begun
	closed bool
}

// family is the index of one address family.
type family struct {
	family policy.Family
	build  func(index.Book, index.Alloc) (generation, error)

	now    generation // receives the changes; nil while the tries alone decide
	before generation // the previous one, while it is still in force; usually nil
	draft  *draft     // the next one, while it is built or put in force; usually nil

	room    uint32 // free lines of now when it was built
	nodes   int    // nodes of the book when now was built
	changes int    // changed prefixes since then
}

// generation is an *index.V4 or *index.V6.
type generation interface {
	Update(netip.Prefix) bool
	Region(netip.Prefix) netip.Prefix
	Lines() (used, capacity uint32)
}

func newIndexes(log *slog.Logger, p Publisher, change sync.Locker) *indexes {
	return &indexes{
		log: log, kernel: p, change: change,
		v4: family{family: policy.IPv4, build: func(b index.Book, a index.Alloc) (generation, error) {
			return index.BuildV4(b, a)
		}},
		v6: family{family: policy.IPv6, build: func(b index.Book, a index.Alloc) (generation, error) {
			return index.BuildV6(b, a)
		}},
	}
}

// close waits for the builds in the background, and prevents further ones. The
// caller does not hold change.
func (x *indexes) close() {
	x.change.Lock()
	x.closed = true
	x.change.Unlock()
	x.drafts.Wait()
}

func (x *indexes) families() []*family { return []*family{&x.v4, &x.v6} }

// follow updates the index after nodes of the book changed. When it returns, the
// index decides no packet by the state before the change.
func (x *indexes) follow(b *policy.Book, changed ...[]policy.Node) {
	for _, f := range x.families() {
		if prefixes := f.own(changed); len(prefixes) > 0 {
			x.update(b, f, prefixes)
		}
	}
}

// lapsed counts nodes that were removed or shortened only because entries had
// expired. The index is not patched until the next generation is built. It says drop
// only until the deadlines of the expired entries themselves, which have passed, or if
// another entry drops the source. Otherwise it still sends packets from those sources
// to the tries, which decide them correctly.
func (x *indexes) lapsed(b *policy.Book, changed ...[]policy.Node) {
	for _, f := range x.families() {
		f.changes += len(f.own(changed))
		x.look(b, f)
	}
}

// own returns the prefixes of the nodes that belong to the family.
func (f *family) own(changed [][]policy.Node) []netip.Prefix {
	var own []netip.Prefix
	for _, nodes := range changed {
		for _, n := range nodes {
			if policy.FamilyOf(n.Prefix.Addr()) == f.family {
				own = append(own, n.Prefix)
			}
		}
	}
	return own
}

func (x *indexes) update(b *policy.Book, f *family, prefixes []netip.Prefix) {
	f.changes += len(prefixes)
	f.draft.miss(prefixes)
	switch {
	case f.patch(prefixes):
	case len(prefixes) <= waitMost:
		x.retire(f)
	default:
		x.rebuild(b, f)
	}
	x.look(b, f)
}

// patch updates the generation in force, and the one that is being put in force.
// It reports false if one of them has no room, or if the change is too large.
func (f *family) patch(prefixes []netip.Prefix) bool {
	if len(prefixes) > patchMost {
		return false
	}
	if f.before != nil && !patched(f.before, prefixes) && f.settle() != nil {
		return false
	}
	if f.now == nil {
		return f.draft != nil
	}
	return patched(f.now, prefixes)
}

// patched updates each region once, however many of the prefixes are in it.
func patched(g generation, prefixes []netip.Prefix) bool {
	done := make(map[netip.Prefix]bool, len(prefixes))
	for _, p := range prefixes {
		r := g.Region(p)
		if done[r] {
			continue
		}
		if done[r] = true; !g.Update(p) {
			return false
		}
	}
	return true
}

// look begins the next generation if the current one is low on room.
func (x *indexes) look(b *policy.Book, f *family) {
	if f.draft == nil && !x.closed && !x.held && f.low() {
		x.begin(b, f, false)
	}
}

// low reports whether it is time to begin the next generation.
func (f *family) low() bool {
	if f.now == nil {
		return f.changes > 0
	}
	used, capacity := f.now.Lines()
	return f.changes > driftLeast+f.nodes/driftShare || (capacity-used)*roomShare < f.room
}

// take makes g the generation that receives the changes.
func (f *family) take(b *policy.Book, g generation) {
	used, capacity := g.Lines()
	f.now, f.room, f.changes = g, capacity-used, 0
	f.nodes = b.Size(policy.Block, f.family) + b.Size(policy.Allow, f.family)
}

// build rebuilds the indexes of both families.
func (x *indexes) build(b *policy.Book) {
	for _, f := range x.families() {
		x.rebuild(b, f)
	}
}

// rebuild builds a new generation and puts it in force. The previous one stays in
// force until then, so the caller waits and packets do not.
func (x *indexes) rebuild(b *policy.Book, f *family) {
	// The new generation replaces the draft, also if it came into force.
	_ = f.settle()
	f.abandon(b)
	g, m, err := x.make(f, b)
	var before Memory
	if err == nil {
		before, err = x.kernel.Publish(f.family, m)
	}
	if err != nil {
		x.giveUp(f, errors.Join(err, closeMemory(m)))
		return
	}
	f.take(b, g)
	if err := closeMemory(before); err != nil {
		x.log.Error("the previous index cannot be closed", "family", f.family.String(), "error", err)
	}
}

// make builds a generation, and does not put it in force.
func (x *indexes) make(f *family, b index.Book) (g generation, m Memory, err error) {
	start := time.Now()
	g, err = f.build(b, func(lines uint32) ([]uint64, error) {
		fresh, err := x.kernel.Allocate(f.family, lines)
		if err != nil {
			return nil, err
		}
		m = fresh
		return m.Words(), nil
	})
	if err != nil {
		return nil, nil, errors.Join(err, closeMemory(m))
	}
	used, capacity := g.Lines()
	x.log.Debug("index built", "family", f.family.String(),
		"lines", used, "capacity", capacity, "took", time.Since(start))
	return g, m, nil
}

func closeMemory(m Memory) error {
	if m == nil {
		return nil
	}
	return m.Close()
}

// retire removes an index that has no room for a change, because the change must
// not wait for a build. Until the next generation is built the tries decide
// alone, which is slower and always correct.
func (x *indexes) retire(f *family) {
	x.log.Debug("the index is full: the tries alone decide until the next one is built",
		"family", f.family.String())
	if err := x.clear(f); err != nil {
		x.log.Error("an outdated index cannot be removed: restart paraxiald",
			"family", f.family.String(), "error", err)
	}
}

// giveUp is retire after the next generation could not be built or put in force.
func (x *indexes) giveUp(f *family, err error) {
	err = errors.Join(err, x.clear(f))
	x.log.Error("the index cannot be built: packets are filtered by the tries alone, which is slower",
		"family", f.family.String(), "error", err)
}

// clear removes the index. It waits first for a draft that is being put in force.
func (x *indexes) clear(f *family) error {
	// The draft is removed too if it came into force.
	_ = f.settle()
	f.now, f.before = nil, nil
	return x.kernel.Unpublish(f.family)
}
