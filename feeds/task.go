package feeds

import (
	"context"
	"time"
)

// task is the loop of a feed in the background.
type task struct {
	cancel context.CancelFunc
	wakeUp chan struct{}
	done   chan struct{}
}

func newTask() *task { return &task{wakeUp: make(chan struct{}, 1), done: make(chan struct{})} }

// begin runs step in the background, until ctx is done or quit is called. After each step it
// sleeps for the time that step returns, but not for longer than longestNap.
func (t *task) begin(ctx context.Context, step func(context.Context) (nap time.Duration)) {
	ctx, t.cancel = context.WithCancel(ctx)
	go func() {
		defer close(t.done)
		for ctx.Err() == nil {
			nap := step(ctx)
			select {
			case <-ctx.Done():
			case <-t.wakeUp:
			case <-time.After(min(max(nap, 0), longestNap)):
			}
		}
	}()
}

// quit ends a task that has begun, and waits until it has ended.
func (t *task) quit() {
	t.cancel()
	<-t.done
}

// nudge makes the loop look again at what is due.
func (t *task) nudge() {
	select {
	case t.wakeUp <- struct{}{}:
	default:
	}
}
