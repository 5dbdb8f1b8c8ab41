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
	// patchMost is how many changed prefixes are patched into the index one by
	// one. Building anew costs about half a microsecond an entry, patching a few
	// microseconds a change.
	patchMost = 20_000
	// waitMost is the largest change that must not wait for a build. A larger
	// one is a list, which would rather have its index.
	waitMost = 256
	// driftLeast and driftShare are after how many changes a generation is
	// replaced, however much room it says it has: so many, and one for this many
	// nodes. It may be short of room in a place that the total does not show.
	driftLeast = 24
	driftShare = 10
	// roomShare is the part of its room that a generation has left when the next
	// is begun.
	roomShare = 4
)

// indexes keeps the index in front of the tries in step with the book, one
// generation per family. All but close are called by whoever holds change.
type indexes struct {
	log    *slog.Logger
	kernel Publisher
	change sync.Locker // the engine's: nobody else changes the book
	v4     family
	v6     family

	drafts sync.WaitGroup
	closed bool
}

// family is the index of one address family.
type family struct {
	family policy.Family
	build  func(index.Book, index.Alloc) (generation, error)

	now    generation // what changes go to; nil while the tries alone decide
	before generation // goes on in force until now is; mostly nil
	draft  *draft     // what is to come after now; mostly nil

	room    uint32 // lines that now had left at first
	nodes   int    // of the book when now was built
	changes int    // since then
}

// generation is an *index.V4 or *index.V6.
type generation interface {
	Update(netip.Prefix) bool
	Lines() (used, capacity uint32)
}

func newIndexes(log *slog.Logger, p Publisher, change sync.Locker) *indexes {
	return &indexes{
		log: log, kernel: p, change: change,
		v4: family{family: policy.IPv4, build: func(b index.Book, a index.Alloc) (generation, error) { return index.BuildV4(b, a) }},
		v6: family{family: policy.IPv6, build: func(b index.Book, a index.Alloc) (generation, error) { return index.BuildV6(b, a) }},
	}
}

// close waits until nothing is built in the background. The caller does not hold
// change.
func (x *indexes) close() {
	x.change.Lock()
	x.closed = true
	x.change.Unlock()
	x.drafts.Wait()
}

func (x *indexes) families() []*family { return []*family{&x.v4, &x.v6} }

// follow brings the index up to date after a change of nodes in the book, puts
// first. When it returns, no packet is decided as before the change.
func (x *indexes) follow(b *policy.Book, changed ...[]policy.Node) {
	for _, f := range x.families() {
		if prefixes := f.own(changed); len(prefixes) > 0 {
			x.update(b, f, prefixes)
		}
	}
}

// lapsed notes that nodes went, or lost deadlines, that were past. The index asks
// the tries about those sources and goes on doing so, which is right, until the
// next generation is built.
func (x *indexes) lapsed(b *policy.Book, changed ...[]policy.Node) {
	for _, f := range x.families() {
		f.changes += len(f.own(changed))
		x.look(b, f)
	}
}

// own returns the prefixes of the family.
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

// patch brings what is in force up to date, and what is about to be. It reports
// false if that takes a new generation.
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

func patched(g generation, prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if !g.Update(p) {
			return false
		}
	}
	return true
}

// look begins the next generation if that in force will not last much longer.
func (x *indexes) look(b *policy.Book, f *family) {
	if f.draft == nil && !x.closed && f.low() {
		x.begin(b, f)
	}
}

func (f *family) low() bool {
	if f.now == nil {
		return f.changes > 0
	}
	used, capacity := f.now.Lines()
	return f.changes > driftLeast+f.nodes/driftShare || (capacity-used)*roomShare < f.room
}

// take makes a generation the one that changes go to.
func (f *family) take(b *policy.Book, g generation) {
	used, capacity := g.Lines()
	f.now, f.room, f.changes = g, capacity-used, 0
	f.nodes = b.Size(policy.Block, f.family) + b.Size(policy.Allow, f.family)
}

// prepare gives up what is being built in the background.
func (x *indexes) prepare(b *policy.Book) {
	for _, f := range x.families() {
		f.abandon(b)
	}
}

// build makes both indexes anew, at once.
func (x *indexes) build(b *policy.Book) {
	for _, f := range x.families() {
		x.rebuild(b, f)
	}
}

// rebuild makes a new generation and puts it in force. That before it goes on
// meanwhile, so the caller waits and packets do not.
func (x *indexes) rebuild(b *policy.Book, f *family) {
	// Whether a draft came into force or not, it is replaced.
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
		x.log.Error("the index before this one cannot be closed", "family", f.family.String(), "error", err)
	}
}

// make builds a generation that is not in force yet.
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
	x.log.Debug("index built", "family", f.family.String(), "lines", used, "capacity", capacity, "took", time.Since(start))
	return g, m, nil
}

func closeMemory(m Memory) error {
	if m == nil {
		return nil
	}
	return m.Close()
}

// retire lets the tries decide alone, which is slower and always right, until
// the next generation is built: a change that this one has no room for must not
// wait for that.
func (x *indexes) retire(f *family) {
	x.log.Debug("the index has no room: the tries alone decide until the next one is built", "family", f.family.String())
	if err := x.clear(f); err != nil {
		x.log.Error("an index that is out of date cannot be taken away: restart paraxiald", "family", f.family.String(), "error", err)
	}
}

// giveUp is retire for want of a generation.
func (x *indexes) giveUp(f *family, err error) {
	err = errors.Join(err, x.clear(f))
	x.log.Error("the index cannot be built: packets are filtered by the tries alone, which is slower", "family", f.family.String(), "error", err)
}

// clear waits for a draft that is coming into force, and takes away what is.
func (x *indexes) clear(f *family) error {
	// Whether it came into force or not, it goes.
	_ = f.settle()
	f.now, f.before = nil, nil
	return x.kernel.Unpublish(f.family)
}
