package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
)

// The socket is removed, or the whole of /run/paraxial: it comes back, and running watches
// continue.
func TestSocketRemoved(t *testing.T) {
	h := newHost(t)
	h.start()
	ctx, cancel := context.WithCancel(h.Context())
	defer cancel()
	events, ended := make(chan control.Event, 1000), make(chan error, 1)
	go func() {
		ended <- h.client().Watch(ctx, func(e control.Event) error {
			events <- e
			return nil
		})
	}()
	h.within("the watch has started", patience, func() bool {
		h.ctl(0, "block", freeSource)
		return len(events) > 0
	})
	for _, path := range []string{h.daemon.Socket, filepath.Dir(h.daemon.Socket)} {
		check(t, os.RemoveAll(path))
		h.ctl(3, "status")
		for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			if r, err := h.daemon.Run(ctx, "status"); err == nil && r.Code == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatal("the socket was not created again")
			}
		}
	}
	h.logs("the socket was removed and has been created again", func() { check(t, os.Remove(h.daemon.Socket)) })
	for len(events) > 0 {
		<-events
	}
	h.ctl(0, "block", blockedSource)
	select {
	case e := <-events:
		if e.Type != control.EventAdded {
			t.Errorf("event %+v", e)
		}
	case err := <-ended:
		t.Errorf("the watch has ended: %v", err)
	case <-time.After(patience):
		t.Error("the watch shows no more events")
	}
}
