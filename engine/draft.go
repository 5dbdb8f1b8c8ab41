package engine

import (
	"errors"
	"net/netip"

	"github.com/paraxial/paraxial/index"
	"github.com/paraxial/paraxial/policy"
)

// draft is a generation that is built in the background, from a snapshot of the
// book. What changes meanwhile is noted and replayed on it; from then on changes
// go to it and to the generation in force, until it is the one in force.
type draft struct {
	snapshot *policy.Snapshot
	missed   []netip.Prefix
	built    chan struct{} // closed once the snapshot is not read any more
	ready    bool          // changes go to it
	swapped  chan struct{} // closed once it is in force, or has failed to be
	failed   error         // why it is not in force; not before swapped is closed
}

// source is what a draft is built from: a snapshot first, and then the book.
type source struct{ index.Book }

// miss notes changes that a draft has to be told of. There may be none.
func (d *draft) miss(prefixes []netip.Prefix) {
	if d != nil && !d.ready {
		d.missed = append(d.missed, prefixes...)
	}
}

// settle waits until no draft is about to take the place of what is in force,
// which takes as long as readers do. If it returns an error, what was in force
// before is so still.
func (f *family) settle() error {
	d := f.draft
	if d == nil || !d.ready {
		return nil
	}
	<-d.swapped
	f.before, f.draft = nil, nil
	return d.failed
}

// abandon gives up a draft that is still being built. It waits for that, because
// while a snapshot is in use every change of the book costs more.
func (f *family) abandon(b *policy.Book) {
	if d := f.draft; d != nil && !d.ready {
		<-d.built
		b.Release(d.snapshot)
		f.draft = nil // it notices
	}
}

// begin begins a draft. The caller holds change, and the draft takes it.
func (x *indexes) begin(b *policy.Book, f *family) {
	d := &draft{snapshot: b.Snapshot(), built: make(chan struct{}), swapped: make(chan struct{})}
	f.draft = d
	x.drafts.Go(func() {
		s := &source{d.snapshot}
		g, m, err := x.make(f, s)
		close(d.built)
		if x.adopt(b, f, d, s, g, err) {
			x.swapIn(f, d, m)
		} else if err := closeMemory(m); err != nil {
			x.log.Error("an index that was not needed cannot be closed", "family", f.family.String(), "error", err)
		}
	})
}

// adopt lets changes go to the draft, after those that it missed. It reports
// false if it cannot or need not come into force.
func (x *indexes) adopt(b *policy.Book, f *family, d *draft, s *source, g generation, err error) bool {
	x.change.Lock()
	defer x.change.Unlock()
	b.Release(d.snapshot)
	if f.draft != d {
		return false
	}
	if err != nil {
		f.draft = nil
		f.changes, f.room = 0, 0 // not at every change again
		x.log.Error("the next index cannot be built, and is tried again later", "family", f.family.String(), "error", err)
		return false
	}
	s.Book = b
	for _, p := range d.missed {
		if !g.Update(p) {
			f.draft = nil
			if !x.closed {
				x.begin(b, f)
			}
			return false
		}
	}
	d.missed = nil
	d.ready, f.before = true, f.now
	f.take(b, g)
	return true
}

// swapIn puts the draft in force. It does not hold change while it waits for
// readers.
func (x *indexes) swapIn(f *family, d *draft, m Memory) {
	before, err := x.kernel.Publish(f.family, m)
	d.failed = err
	close(d.swapped)
	x.change.Lock()
	defer x.change.Unlock()
	if err != nil {
		err = errors.Join(err, m.Close())
	}
	if f.draft == d && err != nil {
		x.giveUp(f, err)
		return
	}
	if f.draft == d {
		f.before, f.draft = nil, nil
	}
	if err := errors.Join(err, closeMemory(before)); err != nil {
		x.log.Error("an index cannot be put in force, or closed after that", "family", f.family.String(), "error", err)
	}
}
