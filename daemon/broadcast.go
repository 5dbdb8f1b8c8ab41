package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/paraxial/paraxial/control"
)

// broadcast hands events to everyone who watches. A watcher that is too slow
// loses events and is told how many; it never holds up the daemon.
type broadcast struct {
	mu       sync.Mutex
	watchers map[*watcher]struct{}
}

type watcher struct {
	events chan control.Event
	lost   uint64
}

// watchBuffer is how many events a watcher may be behind.
const watchBuffer = 1024

func newBroadcast() *broadcast {
	return &broadcast{watchers: make(map[*watcher]struct{})}
}

// watched tells whether anyone would see an event.
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

// offer queues e, after word of what was lost before it.
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

// watch yields events until ctx is done.
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

func (d *Daemon) interfaceChanged(s control.InterfaceStatus) {
	d.broadcast.send(control.Event{Type: control.EventInterface, Interface: &s})
}

// announce tells who watches. Long lists are counted by the caller instead.
func (d *Daemon) announce(event string, entries []control.Entry) {
	if !d.broadcast.watched() {
		return
	}
	for i := range entries {
		d.broadcast.send(control.Event{Type: event, Entry: &entries[i]})
	}
}
