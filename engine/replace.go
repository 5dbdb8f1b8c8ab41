package engine

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/paraxial/paraxial/policy"
)

const (
	// importChunk is the number of entries of a large import that are written to
	// the book, the kernel and the store at a time.
	importChunk = 20_000
	// smallImport is the largest import, in changes, that is one transaction. The
	// set of a larger one is staged.
	smallImport = 20_000
)

// Set is the whole set of blocks of an origin.
type Set struct {
	Entry policy.Entry // for every prefix, except Prefix and Forced
	List  *List        // Replace uses it up
}

// Replaced counts the entries that Replace changed.
type Replaced struct {
	Added, Removed, Unchanged int
}

// errLarge is the error of a plan with more than smallImport changes.
var errLarge = errors.New("too many changes for one transaction")

// Replace makes s the whole set of its origin, or changes nothing. Its errors are
// the errors of Edit. progress receives the number of entries in the kernel.
func (e *Engine) Replace(ctx context.Context, s Set, progress func(applied, total int)) (Replaced, error) {
	job := importJob{Engine: e, set: s, progress: progress}
	err := e.Edit(ctx, job.plan)
	if errors.Is(err, errLarge) {
		err = job.large(ctx)
	}
	if len(s.List.lines) > smallImport {
		// The list takes a third of the memory of the process. The runtime would
		// keep that memory for later allocations.
		s.List.lines = nil
		go debug.FreeOSMemory()
	}
	return job.Replaced, err
}

// importJob replaces the set of one origin. The caller of its methods, except
// large, has the turn and may read the book.
type importJob struct {
	*Engine
	set      Set
	progress func(applied, total int)

	Replaced
	changed int                   // entries of Unchanged whose deadline, reason or author changes
	nodes   map[policy.Family]int // new nodes in the tries
}

// plan returns the changes of a small import, and errLarge if there are too many.
func (j *importJob) plan(b *policy.Book) ([]policy.Op, error) {
	stale, complete := j.compare(smallImport)
	if !complete {
		return nil, errLarge
	}
	if err := j.hasRoom(); err != nil {
		return nil, err
	}
	ops := make([]policy.Op, 0, j.changes())
	j.each(j.set.List.lines, func(e policy.Entry, _, same bool) bool {
		if !same {
			ops = append(ops, policy.PutOp(e))
		}
		return true
	})
	for _, r := range stale {
		e, _ := b.Resolve(r)
		ops = append(ops, policy.RemoveOp(e.Key()))
	}
	return ops, nil
}

// entry returns the entry that the import wants at p, and whether it is the same
// as the present one, old.
func (j *importJob) entry(p netip.Prefix, old policy.Entry, exists bool) (e policy.Entry, same bool) {
	e = j.set.Entry
	e.Prefix = p
	e.Forced = j.set.List.forced[p]
	if !exists {
		return e, false
	}
	if old.Deadline == e.Deadline && old.Reason == e.Reason && old.Action == e.Action && old.Forced == e.Forced {
		return old, true
	}
	e.Created = old.Created
	return e, false
}

// each calls f with the wanted entry of every line, until f returns false.
func (j *importJob) each(lines []line, f func(e policy.Entry, exists, same bool) bool) {
	key := j.set.Entry.Key()
	for _, l := range lines {
		key.Prefix = l.prefix()
		old, exists := j.book.Get(key)
		e, same := j.entry(key.Prefix, old, exists)
		if !f(e, exists, same) {
			return
		}
	}
}

// changes returns the number of entries that the import puts or removes.
func (j *importJob) changes() int { return j.Added + j.changed + j.Removed }

// compare counts the changes of the import, and returns the present entries that
// are not in the list. It stops, and is not complete, after more than most changes.
func (j *importJob) compare(most int) (stale []policy.EntryRef, complete bool) {
	j.Replaced, j.changed, j.nodes = Replaced{}, 0, make(map[policy.Family]int)
	j.each(j.set.List.lines, func(e policy.Entry, exists, same bool) bool {
		switch {
		case !exists:
			j.Added++
			if _, ok := j.book.Node(e.Kind, e.Prefix); !ok {
				j.nodes[policy.FamilyOf(e.Prefix.Addr())]++
			}
		case same:
			j.Unchanged++
		default:
			j.Unchanged++
			j.changed++
		}
		return j.changes() <= most
	})
	if j.changes() > most {
		return nil, false
	}
	for r := range j.book.Origin(policy.Block, j.set.Entry.Origin) {
		if e, _ := j.book.Resolve(r); !j.set.List.has(e.Prefix) {
			stale = append(stale, r)
		}
	}
	j.Removed = len(stale)
	return stale, j.changes() <= most
}

// hasRoom returns an error that wraps ErrFull if there is no room for the new entries
// beside the present ones. The stale ones count, because they are removed last.
func (j *importJob) hasRoom() error { return j.roomFor(j.set.Entry, j.Added, j.nodes) }

// large carries out an import with many changes. The set is staged on disk while
// it is written to the kernel. One small transaction then makes it the set of the
// origin, and after that stale entries are removed. A crash before that
// transaction leaves nodes in the kernel that the next start removes.
func (j *importJob) large(ctx context.Context) error {
	j.turn.Lock()
	defer j.turn.Unlock()
	start := time.Now()
	defer func() { j.observe(time.Since(start)) }()
	stale, _ := j.compare(math.MaxInt)
	if err := j.hasRoom(); err != nil {
		return err
	}
	j.index.prepare(j.book)
	staged, err := j.store.Begin(j.set.Entry.Origin)
	if err != nil {
		return &SaveError{err}
	}
	if err := j.stage(ctx, staged); err != nil {
		return errors.Join(err, staged.Abort(), j.rollBack(ctx))
	}
	if err := staged.Commit(j.Reading()); err != nil {
		return errors.Join(&SaveError{err}, staged.Abort(), j.rollBack(ctx))
	}
	err = j.removeStale(ctx, stale)
	// The new entries are saved now, so they have to be in the index also after an
	// error.
	j.index.build(j.book)
	return err
}
