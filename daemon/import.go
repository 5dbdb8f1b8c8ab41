package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

const (
	// importChunk is how many entries are put into the book, the kernel and
	// the store at a time.
	importChunk = 20_000
	// smallImport is how many changes are made in one transaction, without
	// staging a whole new set.
	smallImport = 20_000
	// mostListed bounds how many bad or refused lines a result names.
	mostListed = 1000
)

// Import implements control.Backend.
func (d *Daemon) Import(ctx context.Context, c control.Caller, r control.ImportRequest, list io.Reader, progress func(control.ImportProgress)) (control.ImportResult, error) {
	now := d.engine.clock.now()
	deadline, err := deadlineFor(now, r.For)
	if err != nil {
		return control.ImportResult{}, err
	}
	wanted, err := readWanted(list, 2*d.engine.limit, progress) // both families
	if err != nil {
		return control.ImportResult{}, changeError(err)
	}
	if len(wanted.invalid) > 0 && !r.SkipInvalid {
		return control.ImportResult{Invalid: wanted.invalid}, nil
	}
	refused, err := d.guardList(ctx, wanted, r.Force)
	if err != nil {
		return control.ImportResult{}, err
	}
	job := importJob{
		engine: d.engine, wanted: wanted.lines, forced: wanted.forced, progress: progress,
		template: policy.Entry{
			Kind: policy.Block, Action: policy.Drop, Origin: r.Origin, Reason: r.Reason,
			Author: c.Author(), Created: time.Now().UTC().Truncate(time.Second), Deadline: deadline,
		},
	}
	if err := job.run(ctx); err != nil {
		return control.ImportResult{}, changeError(fmt.Errorf("import %s: %w", r.Origin, err))
	}
	if len(wanted.lines) > smallImport {
		// What taking in the list needed is a third of the process by now, and
		// left alone would stay with it until something else is as large. The
		// caller need not wait for that.
		wanted.lines, job.wanted = nil, nil
		go debug.FreeOSMemory()
	}
	result := control.ImportResult{
		Added: job.added, Removed: job.removed, Unchanged: job.unchanged,
		Refused: refused, Invalid: wanted.invalid, Notes: wanted.notes(),
	}
	d.broadcast.send(control.Event{Type: control.EventImported, Import: &control.ImportSummary{
		Origin: r.Origin, Added: result.Added, Removed: result.Removed, Unchanged: result.Unchanged, Refused: len(refused),
	}})
	return result, nil
}

// guardList takes what the guard refuses out of the list, unless force keeps it.
func (d *Daemon) guardList(ctx context.Context, w *wanted, force bool) ([]control.RefusedLine, error) {
	guard, err := d.guard(ctx)
	if err != nil && !force {
		return nil, control.Errorf(control.CodeRefused, "%v; --force imports without knowing", err)
	}
	var refused []control.RefusedLine
	w.lines = slices.DeleteFunc(w.lines, func(l wantedLine) bool {
		p := l.prefix()
		refusal := guard.Check(p)
		if refusal == nil {
			return false
		}
		if force {
			w.forced[p] = true
			return false
		}
		refused = append(refused, control.RefusedLine{Prefix: p.String(), Line: int(l.line), Message: refusal.Error()})
		return true
	})
	slices.SortFunc(refused, func(x, y control.RefusedLine) int { return cmp.Compare(x.Line, y.Line) })
	return refused, nil
}

// importJob replaces the set of one origin.
type importJob struct {
	engine   *engine
	wanted   []wantedLine
	forced   map[netip.Prefix]bool
	template policy.Entry
	progress func(control.ImportProgress)

	added, removed, unchanged int
	changed                   int // of unchanged: those whose expiry, reason or author changes
}

func (j *importJob) run(ctx context.Context) error {
	j.engine.change.Lock()
	defer j.engine.change.Unlock()
	start := time.Now()
	stale, err := j.compare()
	if err != nil {
		return err
	}
	switch changes := j.added + j.changed + j.removed; {
	case changes == 0:
		return nil
	case changes <= smallImport:
		err = j.engine.applyLocked(ctx, j.ops(stale))
	default:
		err = j.replace(ctx, stale)
		j.engine.applied(time.Since(start))
	}
	return err
}

// entry returns what is to stand for a line, given what stands there now.
func (j *importJob) entry(p netip.Prefix, old policy.Entry, exists bool) (e policy.Entry, same bool) {
	e = j.template
	e.Prefix = p
	e.Forced = j.forced[p]
	if !exists {
		return e, false
	}
	if old.Deadline == e.Deadline && old.Reason == e.Reason && old.Action == e.Action && old.Forced == e.Forced {
		return old, true
	}
	e.Created = old.Created
	return e, false
}

// each calls f with what is to stand for every line.
func (j *importJob) each(lines []wantedLine, f func(e policy.Entry, exists, same bool)) {
	key := j.template.Key()
	j.engine.read(func(b *policy.Book) {
		for _, l := range lines {
			key.Prefix = l.prefix()
			old, exists := b.Get(key)
			e, same := j.entry(key.Prefix, old, exists)
			f(e, exists, same)
		}
	})
}

// compare counts what the import changes, and returns what is not in the list.
// It fails if the kernel has no room.
func (j *importJob) compare() (stale []policy.EntryRef, err error) {
	nodes := map[policy.Family]int{}
	j.each(j.wanted, func(e policy.Entry, exists, same bool) {
		switch {
		case !exists:
			j.added++
			if _, ok := j.engine.book.Node(e.Kind, e.Prefix); !ok {
				nodes[policy.FamilyOf(e.Prefix.Addr())]++
			}
		case same:
			j.unchanged++
		default:
			j.unchanged++
			j.changed++
		}
	})
	j.engine.read(func(b *policy.Book) {
		for r := range b.Origin(policy.Block, j.template.Origin) {
			if e, _ := b.Resolve(r); !j.wants(e.Prefix) {
				stale = append(stale, r)
			}
		}
		for family, n := range nodes {
			if b.Size(policy.Block, family)+n > j.engine.limit {
				err = errFull
			}
		}
	})
	j.removed = len(stale)
	return stale, err
}

func (j *importJob) wants(p netip.Prefix) bool {
	_, ok := slices.BinarySearchFunc(j.wanted, newWantedLine(p, 0), wantedLine.comparePrefix)
	return ok
}

// ops returns all that the import changes.
func (j *importJob) ops(stale []policy.EntryRef) []policy.Op {
	var ops []policy.Op
	j.each(j.wanted, func(e policy.Entry, _, same bool) {
		if !same {
			ops = append(ops, policy.PutOp(e))
		}
	})
	j.engine.read(func(b *policy.Book) {
		for _, r := range stale {
			e, _ := b.Resolve(r)
			ops = append(ops, policy.RemoveOp(e.Key()))
		}
	})
	return ops
}

// replace brings in a large set: it is staged on disk while the kernel takes it
// in, one small transaction makes it the origin's set, and only then is what is
// stale removed. Until that transaction it is as if nothing had happened, and
// afterwards it has happened.
func (j *importJob) replace(ctx context.Context, stale []policy.EntryRef) error {
	j.engine.index.prepare(j.engine.book)
	staged, err := j.engine.store.Begin(j.template.Origin)
	if err != nil {
		return &saveError{err}
	}
	if err := j.stage(ctx, staged); err != nil {
		return errors.Join(err, staged.Abort(), j.rollBack(ctx))
	}
	if err := staged.Commit(j.engine.clock.reading()); err != nil {
		return errors.Join(&saveError{err}, staged.Abort(), j.rollBack(ctx))
	}
	err = j.removeStale(ctx, stale)
	// Also if that failed: the new entries are promised by now.
	j.engine.index.build(j.engine.book)
	return err
}

// removeStale takes what is not in the list any more out of the book and the
// tries.
func (j *importJob) removeStale(ctx context.Context, stale []policy.EntryRef) error {
	for chunk := range slices.Chunk(stale, importChunk) {
		var delta policy.Delta
		j.engine.write(func(b *policy.Book) { delta = b.Remove(chunk) })
		if err := j.engine.enforceTries(ctx, delta); err != nil {
			return fmt.Errorf("the list is saved, but old entries are still in the kernel: %w; restart paraxiald", err)
		}
	}
	return nil
}

// staging is the part of store.Replacement that stage needs.
type staging interface {
	Add([]policy.Entry) error
}

// stage puts the list into the book and the kernel, and at the same time on
// disk, chunk by chunk.
func (j *importJob) stage(ctx context.Context, staged staging) error {
	chunks := make(chan []policy.Entry)
	saved := make(chan error, 1)
	go func() {
		var err error
		for chunk := range chunks {
			if err == nil {
				err = staged.Add(chunk)
			}
		}
		saved <- err
	}()
	err := j.enforceChunks(ctx, chunks)
	close(chunks)
	if saveErr := <-saved; saveErr != nil {
		return &saveError{saveErr}
	}
	return err
}

// enforceChunks puts the list into the book and hands it on: entries to be saved,
// and what they change to the kernel, which takes in one chunk while the book
// takes in the next.
func (j *importJob) enforceChunks(ctx context.Context, save chan<- []policy.Entry) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	deltas := make(chan policy.Delta)
	enforced := make(chan error, 1)
	go func() {
		var err error
		for delta := range deltas {
			if err == nil {
				err = j.engine.enforceTries(ctx, delta)
			}
			if err != nil {
				stop() // there is no use in more
			}
		}
		enforced <- err
	}()
	err := j.bookChunks(ctx, save, deltas)
	close(deltas)
	if kernelErr := <-enforced; kernelErr != nil {
		return kernelErr
	}
	return err
}

func (j *importJob) bookChunks(ctx context.Context, save chan<- []policy.Entry, deltas chan<- policy.Delta) error {
	// One is filled while the other is saved.
	var buffers [2][]policy.Entry
	done := 0
	for lines := range slices.Chunk(j.wanted, importChunk) {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("given up: %w", err)
		}
		entries := buffers[0][:0]
		j.each(lines, func(e policy.Entry, _, _ bool) { entries = append(entries, e) })
		buffers[0], buffers[1] = buffers[1], entries
		save <- entries
		var delta policy.Delta
		j.engine.write(func(b *policy.Book) { delta = b.Put(entries) })
		deltas <- delta
		// The kernel is done with all before this chunk.
		j.progress(control.ImportProgress{Read: len(j.wanted), Applied: done, Total: len(j.wanted)})
		done += len(lines)
	}
	return nil
}

// rollBack puts the book and the kernel back to what the store has: nothing of
// this import was committed there.
func (j *importJob) rollBack(ctx context.Context) error {
	origin := j.template.Origin
	var ops []policy.Op
	j.engine.read(func(b *policy.Book) {
		for r := range b.Origin(policy.Block, origin) {
			e, _ := b.Resolve(r)
			ops = append(ops, policy.RemoveOp(e.Key()))
		}
	})
	_, err := j.engine.store.Load(func(e policy.Entry) error {
		if e.Kind == policy.Block && e.Origin == origin && e.Pending == nil {
			ops = append(ops, policy.PutOp(e))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read back what is saved: %w; restart paraxiald", err)
	}
	// In one change, so that the kernel sees only the differences and no entry
	// is away for a moment.
	delta, _ := j.engine.edit(ops)
	return j.engine.enforce(ctx, delta, j.engine.index.follow)
}
