package engine

import (
	"context"
	"fmt"
	"iter"
	"runtime/debug"

	"github.com/paraxial/paraxial/policy"
)

const (
	// importChunk is the number of entries of a large import that are written to the store at a
	// time.
	importChunk = 8192
	// readStep is the number of entries that are looked up while other changes of the book wait.
	readStep = 1024
	// turnStep is the number of entries that are written to the book and the kernel while other
	// changes wait.
	turnStep = 2048
	// smallImport is the largest import, in changes, that is one transaction. The
	// set of a larger one is staged.
	smallImport = 20_000
)

// Set is the whole set of blocks of an origin, or of its allows.
type Set struct {
	Entry policy.Entry    // for every prefix, except Prefix, Forced and the details of a line
	Now   policy.Deadline // when the lifetimes of the lines begin
	List  *List           // Replace uses it up
	// Slack is how much the end of an entry may differ for the entry to stay as it is. Ends that
	// come as lifetimes differ a little each time.
	Slack policy.Deadline

	// Check is called with the changes before any is made, unless it is nil. If it returns
	// an error, nothing is changed, and Replace returns that error.
	Check func(Replaced) error
}

// Replaced counts the entries that Replace changed.
type Replaced struct {
	Added, Removed, Unchanged int

	Renewed   int // entries of Unchanged whose expiry, reason, action or rate changes
	Shortened int // entries of Renewed that end earlier than before, or are weaker
}

// Before returns the number of entries that the set had.
func (r Replaced) Before() int { return r.Removed + r.Unchanged }

// After returns the number of entries that the set has.
func (r Replaced) After() int { return r.Added + r.Unchanged }

// MostAllows is how many changes the import of a set of allows makes at most. It is one
// transaction, because the store can stage only blocks.
const MostAllows = smallImport

// Replace makes s the whole set of its origin, or changes nothing. Its errors are
// the errors of Edit, and that of s.Check. progress receives the number of entries in
// the kernel. Other changes are carried out meanwhile, except those of the same set,
// which wait. Large imports are carried out one after the other.
func (e *Engine) Replace(ctx context.Context, s Set, progress func(applied, total int)) (Replaced, error) {
	release, err := e.claim(ctx, setOf(s.Entry.Key()))
	if err != nil {
		return Replaced{}, err
	}
	defer release()
	job := importJob{Engine: e, set: s, progress: progress}
	if job.mayBeLarge() {
		if err := e.replacing.take(ctx, largeImport); err != nil {
			return Replaced{}, err
		}
		defer e.replacing.give(largeImport)
	}
	err = job.run(ctx)
	if s.List.Len() > smallImport {
		// The list takes a part of the memory of the process. The runtime would
		// keep that memory for later allocations.
		s.List.lines = lines{}
		go debug.FreeOSMemory()
	}
	return job.Replaced, err
}

// importJob replaces the set of one origin, which is claimed: nobody else changes
// it.
type importJob struct {
	*Engine
	set      Set
	progress func(applied, total int)

	Replaced
	need policy.Need // the room for the new entries
	ops  []policy.Op // the changes, unless there are more than smallImport

	first  bool           // the origin has no entries of the kind yet
	change *policy.Change // the last step; its memory is used again
	added  []bool         // by the index of the line, those that were applied: whether the entry is new
}

// mayBeLarge reports whether the import may have more than smallImport changes.
func (j *importJob) mayBeLarge() bool {
	n := j.set.List.Len()
	j.Read(func(b *policy.Book) { n += b.CountOf(j.set.Entry.Kind, j.set.Entry.Origin) })
	return n > smallImport
}

func (j *importJob) run(ctx context.Context) error {
	if err := j.compare(ctx); err != nil {
		return err
	}
	if err := j.hasRoom(); err != nil {
		return err
	}
	if j.set.Check != nil {
		if err := j.set.Check(j.Replaced); err != nil {
			return err
		}
	}
	switch n := j.changes(); {
	case n == 0:
		return nil
	case n <= smallImport:
		plan := func(*policy.Book) ([]policy.Op, error) { return j.ops, nil }
		return j.edit(ctx, &edit{plan: plan, done: make(chan struct{}), claims: true})
	case j.set.Entry.Kind == policy.Allow:
		return TooLargeError(fmt.Sprintf("nothing was changed: the import would change %d allows, and can change %d: "+
			"merge the prefixes of the list, or import it in parts under several origins", n, MostAllows))
	default:
		j.ops = nil
		return j.large(ctx)
	}
}

// entry returns the entry that the import wants for a line, given the present one.
func (j *importJob) entry(l line, old policy.Entry, exists bool) (e policy.Entry, same bool) {
	e = j.set.List.entry(l, j.set.Entry, j.set.Now)
	if !exists {
		return e, false
	}
	if j.set.near(old.Deadline, e.Deadline) && old.Reason == e.Reason && old.Action == e.Action && old.Rate == e.Rate &&
		old.Forced == e.Forced && old.Replies == e.Replies {
		return old, true
	}
	e.Created = old.Created
	return e, false
}

// near reports whether the end x may stay though the list says y.
func (s *Set) near(x, y policy.Deadline) bool {
	if x == policy.Forever || y == policy.Forever {
		return x == y
	}
	return max(x, y)-min(x, y) <= s.Slack
}

// each reads the book in steps, so that changes wait only briefly, and calls f with the
// wanted entry of every line. The entries of the set do not change meanwhile.
func (j *importJob) each(lines part, f func(b *policy.Book, e, old policy.Entry, exists, same bool)) {
	for step := range lines.chunks(readStep) {
		j.Read(func(b *policy.Book) {
			j.eachOf(b, step, func(e, old policy.Entry, exists, same bool) { f(b, e, old, exists, same) })
		})
	}
}

// eachOf is each for a caller that reads the book already.
func (j *importJob) eachOf(b *policy.Book, lines part, f func(e, old policy.Entry, exists, same bool)) {
	key := j.set.Entry.Key()
	for l := range lines.all() {
		var old policy.Entry
		exists := false
		if key.Prefix = l.prefix; !j.first {
			old, exists = b.Get(key)
		}
		e, same := j.entry(l, old, exists)
		f(e, old, exists, same)
	}
}

// chunks yields the lines of the list in parts of importChunk, until ctx is done.
func (j *importJob) chunks(ctx context.Context) iter.Seq[part] {
	return func(yield func(part) bool) {
		for p := range j.set.List.lines.whole().chunks(importChunk) {
			if ctx.Err() != nil || !yield(p) {
				return
			}
		}
	}
}

// changes is how many entries the import puts or removes.
func (j *importJob) changes() int { return j.Added + j.Renewed + j.Removed }

// note records an operation, while there are few.
func (j *importJob) note(op policy.Op) {
	if j.changes() <= smallImport {
		j.ops = append(j.ops, op)
	}
}

// compare counts what the import changes.
func (j *importJob) compare(ctx context.Context) error {
	j.need = policy.Need{Kind: j.set.Entry.Kind, Nodes: make(map[policy.Family]int)}
	j.Read(func(b *policy.Book) { j.first = b.CountOf(j.set.Entry.Kind, j.set.Entry.Origin) == 0 })
	for lines := range j.chunks(ctx) {
		j.each(lines, j.count)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("nothing was changed: given up: %w", err)
	}
	if j.first {
		return nil
	}
	for from := policy.EntryRef(1); from != 0; {
		j.Read(func(b *policy.Book) {
			var refs []policy.EntryRef
			refs, from = b.OriginFrom(j.set.Entry.Kind, j.set.Entry.Origin, from, readStep)
			for _, r := range refs {
				if e, _ := b.Resolve(r); !j.set.List.lines.has(e.Prefix) {
					j.Removed++
					j.note(policy.RemoveOp(e.Key()))
				}
			}
		})
	}
	return nil
}

// count counts one wanted entry.
func (j *importJob) count(b *policy.Book, e, old policy.Entry, exists, same bool) {
	switch {
	case same:
		j.Unchanged++
		return
	case exists:
		j.Unchanged++
		j.Renewed++
		if policy.Loses(old, e) {
			j.Shortened++
		}
	default:
		j.Added++
		if f := policy.FamilyOf(e.Prefix.Addr()); !b.HasNode(e.Kind, e.Prefix) {
			j.need.Nodes[f]++
		}
	}
	j.need.Add(e, old, exists)
	j.note(policy.PutOp(e))
}

// hasRoom returns an error that wraps ErrFull if there is no room for the new entries
// beside the present ones, of which stale ones are removed last.
func (j *importJob) hasRoom() error { return j.roomFor(j.set.Entry, j.need) }
