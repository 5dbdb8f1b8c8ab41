package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/paraxial/paraxial/control"
)

// broadcast sends events to all watchers. A watcher that is too slow loses events
// and is told how many. It never delays the daemon.
type broadcast struct {
	mu       sync.Mutex
	watchers map[*watcher]struct{}
}

type watcher struct {
	events chan control.Event
	lost   uint64
}

// watchBuffer is the number of events that a watcher may lag behind.
const watchBuffer = 1024

func newBroadcast() *broadcast {
	return &broadcast{watchers: make(map[*watcher]struct{})}
}

// watched reports whether there are watchers.
func (b *broadcast) watched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.watchers) > 0
}

func (b *broadcast) send(e control.Event) {
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

// watch yields events until ctx is done or yield fails.
func (b *broadcast) watch(ctx context.Context, yield func(control.Event) error) error {
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

// interfaceChanged sends the state of an interface.
func (b *broadcast) interfaceChanged(s control.InterfaceStatus) {
	b.send(control.Event{Type: control.EventInterface, Interface: &s})
}

// announce sends one event for each entry. An import sends one event with counts instead.
func (b *broadcast) announce(event string, entries []control.Entry) {
	if !b.watched() {
		return
	}
	for i := range entries {
		b.send(control.Event{Type: event, Entry: &entries[i]})
	}
}
