package paraxial

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"
)

const (
	maxBatch  = 500       // events in a request; the daemon takes 1,000
	maxText   = 256       // bytes of each text, as the daemon cuts them
	maxLines  = 512 << 10 // bytes in a request; the daemon takes 1 MiB
	batchTime = time.Second / 5
	lastTime  = time.Second // for the events that wait when the Shield is closed
	sendTime  = 10 * time.Second
	againTime = time.Second // after a request that failed
	tellEvery = time.Minute // between two messages in the log
)

// queue are events that wait for the daemon.
type queue struct {
	most int
	log  *slog.Logger
	send func(ctx context.Context, lines []byte) (taken, error)
	more chan struct{} // has room for one: something has been added

	mu      sync.Mutex
	waiting [][]byte // encoded
	first   uint64   // number of the first one since the start
	counts  Stats
	told    time.Time // when the log was told of a problem
}

func newQueue(most int, log *slog.Logger, send func(context.Context, []byte) (taken, error)) *queue {
	return &queue{most: most, log: log, send: send, more: make(chan struct{}, 1)}
}

// add adds an event, and drops the oldest one if there is no room.
func (q *queue) add(e Event) {
	for _, s := range []*string{&e.User, &e.Path, &e.Text} {
		*s = (*s)[:min(len(*s), maxText)]
	}
	line, err := json.Marshal(e)
	if err != nil {
		q.drop(err)
		return
	}
	q.mu.Lock()
	if len(q.waiting) >= q.most {
		q.waiting, q.first = q.waiting[1:], q.first+1
		q.counts.Dropped++
	}
	q.waiting = append(q.waiting, append(line, '\n'))
	q.mu.Unlock()
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// drop notes an event that cannot be encoded.
func (q *queue) drop(err error) {
	q.mu.Lock()
	q.counts.Dropped++
	q.mu.Unlock()
	q.tell("an event cannot be reported", err)
}

func (q *queue) stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.counts
	s.Waiting = len(q.waiting)
	return s
}

// run sends events until ctx is done, and then those that wait.
func (q *queue) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-q.more:
		}
		q.gather(ctx)
		for ctx.Err() == nil && q.stats().Waiting > 0 {
			if err := q.flush(ctx, sendTime); err != nil {
				sleep(ctx, againTime)
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
	defer cancel()
	for q.stats().Waiting > 0 {
		if err := q.flush(ctx, lastTime); err != nil {
			break
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.counts.Dropped += uint64(len(q.waiting))
	q.waiting = nil
}

// gather waits for events that follow the first one.
func (q *queue) gather(ctx context.Context) {
	t := time.NewTimer(batchTime)
	defer t.Stop()
	for q.stats().Waiting < min(maxBatch, q.most) {
		select {
		case <-t.C:
			return
		case <-ctx.Done():
			return
		case <-q.more:
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// flush sends a batch. After an error of the connection its events wait further. Those that the
// daemon refuses are not sent again.
func (q *queue) flush(ctx context.Context, limit time.Duration) error {
	lines, end := q.batch()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t, err := q.send(ctx, lines)
	if _, refused := errors.AsType[*Error](err); err != nil && !refused {
		q.tell("events cannot be reported and are kept", err)
		return err
	}
	q.mu.Lock()
	sent := 0
	if end > q.first { // some may have been dropped meanwhile
		sent = int(end - q.first)
	}
	q.waiting, q.first = q.waiting[sent:], max(q.first, end)
	q.counts.Accepted += uint64(t.Accepted)
	q.counts.Refused += uint64(len(t.Refused))
	if err != nil {
		q.counts.Refused += uint64(sent)
	}
	q.mu.Unlock()
	switch {
	case err != nil:
		q.tell("events were refused", err)
	case len(t.Refused) > 0:
		q.tell("events were refused", &Error{t.Refused[0].Code, t.Refused[0].Message})
	}
	return nil
}

// batch returns the lines of the first events, and the number of the event behind them.
func (q *queue) batch() (lines []byte, end uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, line := range q.waiting[:min(len(q.waiting), maxBatch)] {
		if n > 0 && len(lines)+len(line) > maxLines {
			break
		}
		lines = append(lines, line...)
		n++
	}
	return lines, q.first + uint64(n)
}

// tell logs a problem, but not each time.
func (q *queue) tell(what string, err error) {
	q.mu.Lock()
	due := q.told.IsZero() || time.Since(q.told) >= tellEvery
	if due {
		q.told = time.Now()
	}
	q.mu.Unlock()
	if due {
		q.log.Warn("paraxial: "+what, "error", err)
	}
}
