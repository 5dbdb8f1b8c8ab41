package lab

import (
	"sync"
	"time"
)

// Stream sends the frames in turn, about two thousand rounds a second, until stop is called. stop
// returns how often each frame was sent.
func (w *Wire) Stream(frames ...[]byte) (stop func() (sent int, err error)) {
	const pace = 500 * time.Microsecond
	done := make(chan struct{})
	var running sync.WaitGroup
	var sent int
	var failed error
	running.Go(func() {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if failed = w.Send(frames...); failed != nil {
					return
				}
				sent++
			}
		}
	})
	return func() (int, error) {
		close(done)
		running.Wait()
		return sent, failed
	}
}
