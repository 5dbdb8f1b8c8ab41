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
	ended    chan struct{} // closed when nothing more is done with it
	required bool          // the generation in force must not stay: it lacks changes
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

// hold gives up drafts that are being built and prevents further ones, until renew:
// every change of the book costs more while a snapshot is in use.
func (x *indexes) hold(b *policy.Book) {
	var builds []chan struct{}
	x.change.Lock()
	x.held = true
	for _, f := range x.families() {
		if d := f.draft; d != nil && !d.ready {
			builds = append(builds, d.built)
		}
	}
	x.change.Unlock()
	for _, built := range builds {
		<-built
	}
	x.change.Lock()
	defer x.change.Unlock()
	for _, f := range x.families() {
		f.abandon(b)
	}
}

// renew builds new generations in the background, for changes that follow was not
// told of, and returns when they are in force. If one cannot be built, the tries
// decide alone.
func (x *indexes) renew(b *policy.Book) {
	x.change.Lock()
	x.held = false
	for _, f := range x.families() {
		_ = f.settle() // it is replaced, also if it came into force
		f.abandon(b)
		x.again(b, f, true)
	}
	x.change.Unlock()
	for _, f := range x.families() {
		x.awaitRequired(f)
	}
}

// awaitRequired returns when no required draft of the family is under way.
func (x *indexes) awaitRequired(f *family) {
	for {
		x.change.Lock()
		d := f.draft
		x.change.Unlock()
		if d == nil || !d.required {
			return
		}
		<-d.ended
	}
}

// abandon gives up a draft that is being built, and waits for the build.
func (f *family) abandon(b *policy.Book) {
	if d := f.draft; d != nil && !d.ready {
		<-d.built
		b.Release(d.snapshot)
		f.draft = nil // adopt sees this, and discards d
	}
}

// begin begins a draft. Its goroutine takes change itself when it is built.
func (x *indexes) begin(b *policy.Book, f *family, required bool) {
	d := &draft{
		snapshot: b.Snapshot(), required: required,
		built: make(chan struct{}), swapped: make(chan struct{}), ended: make(chan struct{}),
	}
	f.draft = d
	x.drafts.Go(func() {
		defer close(d.ended)
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
	if err != nil && d.required {
		f.draft = nil
		x.giveUp(f, err)
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
	if !patched(g, d.missed) {
		f.draft = nil
		x.again(b, f, d.required)
		return false
	}
	d.missed = nil
	d.ready, f.before = true, f.now
	f.take(b, g)
	return true
}

// again begins a draft, unless the daemon stops.
func (x *indexes) again(b *policy.Book, f *family, required bool) {
	switch {
	case !x.closed:
		x.begin(b, f, required)
	case required:
		x.giveUp(f, errors.New("the daemon stops"))
	}
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
