package logs

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/match"
	"github.com/paraxial/paraxial/report"
)

const (
	// gather is the time between two batches, unless they are full. The first line after a pause
	// does not wait.
	gather = 50 * time.Millisecond
	// idle is how long a source may wait for lines.
	idle = time.Second
	// saveEvery is the time between two saves of a position without events.
	saveEvery = time.Second
	// looksAt is the number of lines between two looks at the clock.
	looksAt = 256
	// againFor is how long a run waits for the lines that the last one may have handed in.
	againFor = 10 * time.Second
	// firstRetry and lastRetry bound the time between two tries to hand events in.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// worker reads a log and hands its events in. A batch is saved before it is handed in, and is
// read and handed in again if the worker is killed before it knows the answer.
type worker struct {
	log     config.LogSource
	reader  *config.Reader
	source  source
	proxies *proxies
	store   *store
	sender  Sender
	logger  *slog.Logger
	now     func() time.Time

	began    time.Time
	lastID   string // of the batch before
	batch    report.Batch
	clock    time.Time // that is looked at for every batch, and not for every line
	handed   time.Time // when the last batch was taken
	saved    time.Time // when a position was saved last
	saves    bool      // the source has a position to save
	unsaved  bool      // it has changed since
	counts   report.LogCounts
	failed   error  // of the last try to hand in
	unstored error  // of the last save
	refusal  string // the last one
	// refusedInRow counts the events that were refused since one was taken.
	refusedInRow int
	caughtUp     time.Time

	mu    sync.Mutex
	state report.LogState
}

// run reads the log until ctx is done.
func (w *worker) run(ctx context.Context) {
	defer w.source.close()
	defer w.finish()
	w.began = w.now()
	for n := 0; ctx.Err() == nil; n++ {
		if n%looksAt == 0 || w.batch.Len() == 0 {
			w.clock = w.now()
		}
		l, st := w.source.next()
		switch {
		case st != got:
			w.pause(ctx, st)
		case w.read(l), n%looksAt == 0 && w.late() && !w.source.again():
			w.flush(ctx)
		}
	}
}

// late reports whether the batch, or the position, has waited long enough.
func (w *worker) late() bool {
	if w.batch.Len() == 0 {
		return w.now().Sub(w.saved) > saveEvery
	}
	return w.now().Sub(w.handed) > gather
}

// pause waits for more lines, and hands in what is there.
func (w *worker) pause(ctx context.Context, st status) {
	if st == none && w.source.again() && w.now().Sub(w.began) < againFor {
		w.source.wait(ctx, gather/4)
		return
	}
	if w.batch.Len() > 0 && st == none && !w.late() {
		w.source.wait(ctx, gather/4)
		return
	}
	w.flush(ctx)
	if st == none {
		w.source.wait(ctx, idle)
	}
}

// read counts a line, and adds it to the batch if it is an event. It returns true if the batch
// has to be handed in before another line is read.
func (w *worker) read(l line) bool {
	w.counts.Lines++
	if !w.reader.Format.Reads(l.program) {
		w.counts.Unread++
		return l.last || w.batch.Full()
	}
	addr, m, success := w.reader.Event(l.text)
	switch m.Kind {
	case match.Ambiguous:
		w.counts.Ambiguous++
	case match.NoAddress:
		w.counts.NoAddress++
	case match.TooLong:
		w.counts.TooLong++
	case match.Unread:
		w.counts.Unread++
	}
	// A batch that is full gets more only if the last run has left out lines of it.
	if addr.IsValid() && !w.batch.Full() {
		w.add(l, addr, m, success)
	}
	return l.last || w.batch.Full() && !w.source.again()
}

// add adds an event to the batch, if the client behind a proxy can be named.
func (w *worker) add(l line, addr netip.Addr, m match.Result, success bool) {
	addr, ok := w.proxies.client(addr, m.HTTP)
	if !ok {
		w.counts.Proxied++
		return
	}
	when := l.time
	if when.IsZero() {
		when, _ = w.reader.Format.Time(l.text, w.clock)
	}
	w.batch.Add(report.Record{
		Address: addr, Rule: w.reader.Rule(m), Points: min(m.Count, report.MaxPoints), User: m.User, Path: m.HTTP.Path,
		Time: when, Success: success, End: m.End, Text: l.text, Where: l.where, At: l.at,
	})
	if success {
		w.counts.Successes++
	} else {
		w.counts.Matched++
	}
}

// flush hands the batch in, however long that takes, and saves the position.
func (w *worker) flush(ctx context.Context) {
	p, fresh := w.source.position()
	w.unsaved = w.unsaved || fresh
	if w.batch.Len() > 0 {
		w.save(p)
		if !w.handIn(ctx) {
			return
		}
		w.batch.Reset()
		w.unsaved, w.handed = true, w.now()
	}
	w.source.commit()
	if now := w.now(); w.unsaved && now.Sub(w.saved) > saveEvery {
		p, _ := w.source.position()
		w.save(p)
		w.unsaved = false
	}
	w.tell()
}

// save saves a position. If that fails, events are handed in all the same: after a restart some
// would count twice, which is less bad than that none count.
func (w *worker) save(p position) {
	if !w.saves {
		return
	}
	w.saved = w.now()
	err := w.store.save(p, w.saved)
	if err != nil && w.unstored == nil {
		w.logger.Error("the position of a log cannot be saved; a restart may count lines twice", "error", err)
	}
	w.unstored = err
}

// handIn hands the batch in, and tries again until that works. It returns false if ctx is done
// before.
func (w *worker) handIn(ctx context.Context) bool {
	id, pause := w.source.id(), firstRetry
	if id != "" && id == w.lastID {
		id += "+" // equal lines at the same place of a file that was truncated
	}
	w.lastID = id
	for {
		taken, err := w.sender.Send(ctx, w.log.Name, id, &w.batch)
		if err == nil {
			w.recovered()
			// The daemon counts those over the budget when the batch comes again, and no other.
			if slices.ContainsFunc(taken.Refused, func(r report.Refusal) bool { return r.Code == report.CodeBudget }) {
				continue
			}
			w.answered(taken)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if isUseless(err) {
			w.counts.Refused += w.batch.Len()
			w.logger.Error("events are given up, because the daemon does not understand them", "error", err)
			return true
		}
		w.failing(err)
		sleep(ctx, pause)
		pause = min(2*pause, lastRetry)
		if ctx.Err() != nil {
			return false
		}
	}
}

// isUseless reports whether it is of no use to send the same batch again.
func isUseless(err error) bool {
	e, ok := errors.AsType[*report.Error](err)
	return ok && (e.Code == report.CodeInvalidRequest || e.Code == report.CodeTooLarge)
}

// answered counts the events that the daemon has not counted.
func (w *worker) answered(taken report.Taken) {
	w.counts.Refused += len(taken.Refused)
	w.refusedInRow += len(taken.Refused)
	if taken.Accepted > 0 {
		w.refusedInRow = 0
	}
	for _, r := range taken.Refused {
		w.refusal = r.Code + ": " + r.Message
	}
}

// failing notes that events cannot be handed in.
func (w *worker) failing(err error) {
	if w.failed == nil {
		w.logger.Warn("events cannot be handed in, and wait", "error", err)
	}
	w.failed = err
	w.tell()
}

func (w *worker) recovered() {
	if w.failed != nil {
		w.logger.Info("events are handed in again")
	}
	w.failed = nil
}

// finish saves the position at the end. A batch that may have been handed in is read again by the
// next run.
func (w *worker) finish() {
	p, _ := w.source.position()
	w.store.synced = time.Time{}
	w.save(p)
	w.store.close()
}

// tell publishes the state.
func (w *worker) tell() {
	t, now := w.source.totals(), w.now()
	s := report.LogState{
		Name: w.log.Name, Source: sourceOf(w.log), LogCounts: w.counts, Files: t.Files, BehindBytes: t.Behind,
		At: now, Error: t.Problem,
	}
	s.TooLong += t.TooLong
	s.LostBytes, s.Lost, s.Gaps, s.Foreign = t.LostBytes, t.Lost, t.Gaps, t.Foreign
	if w.failed != nil {
		s.Error = "events wait: " + w.failed.Error()
	} else if s.Error == "" && w.unstored != nil {
		s.Error = w.unstored.Error()
	}
	s.Refusal, s.RefusedInRow = w.refusal, w.refusedInRow
	if t.Behind == 0 && w.failed == nil {
		w.caughtUp = now
	}
	s.CaughtUp = w.caughtUp
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = s
}

// current returns the state that was published last.
func (w *worker) current() report.LogState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// sourceOf says where the lines of a log come from.
func sourceOf(l config.LogSource) string {
	switch {
	case l.File != "":
		return l.File
	case l.Syslog.Socket != "":
		return "syslog " + l.Syslog.Socket
	}
	return "journal " + strings.Join(l.Journal.Units, " ")
}
