package daemon

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/index"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/policy"
)

// rebuildAfter is how many changed prefixes are patched into the index one by
// one. Building anew costs about half a microsecond an entry, patching a few
// microseconds a change.
const rebuildAfter = 20_000

// indexes keeps the index in front of the tries in step with the book, one
// generation per family. The caller serialises.
type indexes struct {
	log    *slog.Logger
	loader *loader.Loader
	v4     family
	v6     family
}

// family is the index of one address family.
type family struct {
	ipv6  bool
	build func(index.Book, index.Alloc) (generation, error)
	now   generation // nil while the tries alone decide
}

// generation is an *index.V4 or *index.V6.
type generation interface {
	Update(netip.Prefix) bool
	Lines() (used, capacity uint32)
}

func newIndexes(log *slog.Logger, l *loader.Loader) *indexes {
	return &indexes{
		log: log, loader: l,
		v4: family{build: func(b index.Book, a index.Alloc) (generation, error) { return index.BuildV4(b, a) }},
		v6: family{ipv6: true, build: func(b index.Book, a index.Alloc) (generation, error) { return index.BuildV6(b, a) }},
	}
}

// follow brings the index up to date after a change of nodes in the book, puts
// first. A family is built anew at most once, which covers all of the change.
func (x *indexes) follow(b *policy.Book, changed ...[]policy.Node) {
	nodes := slices.Concat(changed...)
	for _, f := range []*family{&x.v4, &x.v6} {
		if !f.patch(nodes) {
			x.rebuild(b, f)
		}
	}
}

// patch brings the generation in force up to date with its family's nodes. It
// reports false if a new one must be built.
func (f *family) patch(nodes []policy.Node) bool {
	patched := 0
	for _, n := range nodes {
		if n.Prefix.Addr().Is6() != f.ipv6 {
			continue
		}
		if patched++; f.now == nil || patched > rebuildAfter || !f.now.Update(n.Prefix) {
			return false
		}
	}
	return true
}

// build makes both indexes anew.
func (x *indexes) build(b *policy.Book) {
	x.rebuild(b, &x.v4)
	x.rebuild(b, &x.v6)
}

// rebuild makes a new generation and puts it in force. Without an index the
// tries decide: that is slower, and as right.
func (x *indexes) rebuild(b *policy.Book, f *family) {
	start := time.Now()
	if err := x.replace(b, f); err != nil {
		f.now = nil
		err = errors.Join(err, x.loader.UnpublishIndex(f.ipv6))
		x.log.Error("the index cannot be built: packets are filtered by the tries alone, which is slower", "family", familyName(f.ipv6), "error", err)
		return
	}
	used, capacity := f.now.Lines()
	x.log.Debug("index built", "family", familyName(f.ipv6), "lines", used, "capacity", capacity, "took", time.Since(start))
}

func (x *indexes) replace(b *policy.Book, f *family) error {
	var memory *loader.IndexMemory
	fresh, err := f.build(b, func(lines uint32) (words []uint64, err error) {
		if memory, err = x.loader.NewIndex(f.ipv6, lines); err != nil {
			return nil, err
		}
		return memory.Words(), nil
	})
	if err == nil {
		err = x.loader.PublishIndex(memory)
	}
	if err != nil {
		if memory != nil {
			err = errors.Join(err, memory.Close())
		}
		return err
	}
	f.now = fresh
	return nil
}
