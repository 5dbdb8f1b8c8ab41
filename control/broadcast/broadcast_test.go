package broadcast

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/paraxial/paraxial/control"
)

// A slow client loses events, delays nobody, and is told how many it lost.
func TestSlowWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New()
		if b.Watched() {
			t.Fatal("there is a watcher before the first")
		}
		ctx, cancel := context.WithCancel(t.Context())
		entered, resume := make(chan struct{}, 1), make(chan struct{})
		var got, lost uint64
		ended := make(chan error)
		go func() {
			ended <- b.Watch(ctx, func(e control.Event) error {
				if e.Type == control.EventLost {
					lost += e.Count
					return nil
				}
				if got++; got == 1 {
					entered <- struct{}{}
					<-resume
				}
				return nil
			})
		}()
		synctest.Wait()
		if !b.Watched() {
			t.Fatal("there is no watcher")
		}
		b.Send(control.Event{Type: control.EventAdded})
		<-entered
		const more = watchBuffer + 7
		for range more {
			b.Send(control.Event{Type: control.EventAdded})
		}
		close(resume)
		synctest.Wait()
		b.Send(control.Event{Type: control.EventAdded})
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended with %v", err)
		}
		if want := uint64(watchBuffer + 2); got != want || lost != 7 {
			t.Errorf("%d events and %d lost, want %d and 7", got, lost, want)
		}
		if b.Watched() {
			t.Error("a watcher that has gone is still there")
		}
	})
}
