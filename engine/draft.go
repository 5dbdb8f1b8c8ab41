package engine

import (
	"errors"
	"net/netip"

	"github.com/paraxial/paraxial/index"
	"github.com/paraxial/paraxial/policy"
)

// draft is a generation that is built in the background from a snapshot of the
// book. Changes made meanwhile are recorded, and replayed on it when it is built.
// Later changes go both to it and to the generation in force, until it is in
// force itself.
type draft struct {
	snapshot *policy.Snapshot
	missed   []netip.Prefix
	built    chan struct{} // closed when the snapshot is not read any more
	ready    bool          // it receives the changes
	swapped  chan struct{} // closed when it is in force, or could not be put in force
	failed   error         // why it is not in force; valid when swapped is closed
}

// source is the book that a generation reads: first a snapshot, later the real one.
type source struct{ index.Book }

// miss records changes, to be replayed when d is built. d may be nil.
func (d *draft) miss(prefixes []netip.Prefix) {
	if d != nil && !d.ready {
		d.missed = append(d.missed, prefixes...)
	}
}

// settle waits until a draft that is being put in force is in force or has failed,
// which takes until readers of the previous generation are done. After an error
// the previous generation is still in force.
func (f *family) settle() error {
	d := f.draft
	if d == nil || !d.ready {
		return nil
	}
	<-d.swapped
	f.before, f.draft = nil, nil
	return d.failed
}

// abandon gives up a draft that is being built. It waits for the build, because
// every change of the book costs more while a snapshot is in use.
func (f *family) abandon(b *policy.Book) {
	if d := f.draft; d != nil && !d.ready {
		<-d.built
		b.Release(d.snapshot)
		f.draft = nil // adopt sees this, and discards d
	}
}

// begin begins a draft. Its goroutine takes change itself when it is built.
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
			x.log.Error("a discarded index cannot be closed", "family", f.family.String(), "error", err)
		}
	})
}

// adopt replays the missed changes on the draft, which receives all changes from
// then on. It reports false if the draft failed, was given up or has no room.
func (x *indexes) adopt(b *policy.Book, f *family, d *draft, s *source, g generation, err error) bool {
	x.change.Lock()
	defer x.change.Unlock()
	b.Release(d.snapshot)
	if f.draft != d {
		return false
	}
	if err != nil {
		f.draft = nil
		f.changes, f.room = 0, 0 // or the next change would try again
		x.log.Error("the next index cannot be built: it is tried again after further changes",
			"family", f.family.String(), "error", err)
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

// swapIn puts the draft in force. It waits for readers without holding change.
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
		x.log.Error("an index cannot be put in force, or the previous one cannot be closed",
			"family", f.family.String(), "error", err)
	}
}
