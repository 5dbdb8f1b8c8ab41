// Package broadcast sends events to the clients that watch.
package broadcast

import (
	"context"
	"sync"
	"time"

	"github.com/paraxial/paraxial/control"
)

// Broadcast sends events to all watchers. A watcher that is too slow loses events
// and is told how many. It never delays the daemon.
type Broadcast struct {
	mu       sync.Mutex
	watchers map[*watcher]struct{}
}

type watcher struct {
	events chan control.Event
	lost   uint64
}

// watchBuffer is the number of events that a watcher may lag behind.
const watchBuffer = 1024

// New returns a broadcast without watchers.
func New() *Broadcast {
	return &Broadcast{watchers: make(map[*watcher]struct{})}
}

// Watched reports whether there are watchers.
func (b *Broadcast) Watched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.watchers) > 0
}

// Send sends an event. An event without a time gets the present one.
func (b *Broadcast) Send(e control.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now().UTC()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.watchers {
		w.offer(e)
	}
}

// offer queues e. If events were lost before, it first queues their number.
func (w *watcher) offer(e control.Event) {
	if w.lost > 0 {
		select {
		case w.events <- control.Event{Time: e.Time, Type: control.EventLost, Count: w.lost}:
			w.lost = 0
		default:
			w.lost++
			return
		}
	}
	select {
	case w.events <- e:
	default:
		w.lost++
	}
}

// Watch yields events until ctx is done or yield fails.
func (b *Broadcast) Watch(ctx context.Context, yield func(control.Event) error) error {
	w := &watcher{events: make(chan control.Event, watchBuffer)}
	b.mu.Lock()
	b.watchers[w] = struct{}{}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.watchers, w)
		b.mu.Unlock()
	}()
	for {
		select {
		case e := <-w.events:
			if err := yield(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// InterfaceChanged sends the state of an interface.
func (b *Broadcast) InterfaceChanged(s control.InterfaceStatus) {
	b.Send(control.Event{Type: control.EventInterface, Interface: &s})
}

// Announce sends one event for each entry. An import sends one event with counts instead.
func (b *Broadcast) Announce(event string, entries []control.Entry) {
	if !b.Watched() {
		return
	}
	for i := range entries {
		b.Send(control.Event{Type: event, Entry: &entries[i]})
	}
}
