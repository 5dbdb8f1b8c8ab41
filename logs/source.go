package logs

import (
	"bytes"
	"context"
	"time"

	"github.com/paraxial/paraxial/journal"
	"github.com/paraxial/paraxial/syslog"
	"github.com/paraxial/paraxial/tail"
)

// line is a line of a log. text is valid until the next line is read.
type line struct {
	text []byte
	// program has written the message; empty: it is not known, or in the text.
	program []byte
	time    time.Time // when it was written; zero: it says so itself
	where   string
	at      int64 // the offset in where, or -1
	// last says that a batch of the last run ended here.
	last bool
}

// position is how far a log was read, for the next run.
type position struct {
	From   string          `json:"from"` // what was read; the rest is of no use for another one
	Files  []tail.Position `json:"files,omitzero"`
	Cursor string          `json:"cursor,omitzero"`
	Until  string          `json:"until,omitzero"` // the cursor of the last entry that may have been handed in
}

// totals are the counters of a source.
type totals struct {
	Files     int
	Behind    int64
	LostBytes int64
	Lost      int // messages that were lost
	Gaps      int
	TooLong   int
	Foreign   int
	Problem   string
}

// status says whether there is a line.
type status int

const (
	got   status = iota
	none         // there is no line at present
	other        // there is one, but the lines before it have to be handed in first
)

// source gives the lines of a log.
type source interface {
	// next returns the next line that is there.
	next() (line, status)
	// wait waits until there may be a line, or for some time.
	wait(ctx context.Context, most time.Duration)
	// position returns the place up to which everything was handed in, and the one up to which
	// lines were read. fresh says that it has changed since the last call.
	position() (p position, fresh bool)
	// id names the lines that were read since the last commit, by their end. Another run that reads
	// them again has the same id, although it may not make the same events of them. It is empty if
	// no other run can read them.
	id() string
	// again reports whether lines are read that may have been handed in. They have to be handed in
	// as the same batch.
	again() bool
	// commit says that all lines that were read were handed in.
	commit()
	totals() totals
	close()
}

// pollEvery is the time between two looks at files.
const pollEvery = 75 * time.Millisecond

// files is a source of files.
type files struct {
	pattern  string
	follower *tail.Follower
	batch    tail.Batch
	at       int     // the start of the next line in batch
	file     tail.ID // of the lines since the last commit
	begun    bool    // there are such lines
	waiting  bool    // batch is of another file, and waits for the commit
}

func newFiles(pattern string, p position, first bool) *files {
	s := &files{pattern: pattern, follower: tail.New(tail.Options{
		Pattern: pattern, Positions: p.Files, FromEnd: first,
	})}
	s.follower.Look(time.Now()) // so that there are positions to save, however short the run is
	return s
}

func (s *files) next() (l line, st status) {
	if s.at == len(s.batch.Data) && !s.waiting && !s.more() {
		return l, none
	}
	if s.waiting {
		return l, other
	}
	s.begun, s.file = true, s.batch.File
	rest := s.batch.Data[s.at:]
	end := bytes.IndexByte(rest, '\n')
	l = line{text: rest[:end], where: s.batch.Path, at: s.batch.Offset + int64(s.at)}
	s.at += end + 1
	l.last = s.batch.Last && s.at == len(s.batch.Data)
	return l, got
}

// more gets more lines.
func (s *files) more() bool {
	s.take()
	s.follower.Look(time.Now())
	var ok bool
	if s.batch, ok = s.follower.Next(); !ok {
		s.batch = tail.Batch{}
		return false
	}
	s.waiting = s.begun && s.batch.File != s.file
	return true
}

// take tells the follower what was read of the batch.
func (s *files) take() {
	if s.at > 0 {
		s.follower.Take(s.batch, s.at)
		s.batch.Data, s.batch.Offset = s.batch.Data[s.at:], s.batch.Offset+int64(s.at)
		s.at = 0
	}
}

func (s *files) wait(ctx context.Context, most time.Duration) {
	sleep(ctx, min(most, pollEvery))
}

func (s *files) position() (position, bool) {
	s.take()
	return position{From: s.pattern, Files: s.follower.Positions()}, s.follower.Dirty()
}

func (s *files) id() string {
	s.take()
	return s.follower.End(s.file)
}

func (s *files) again() bool { return s.follower.Again() }

func (s *files) commit() {
	s.take()
	s.follower.Commit()
	s.begun, s.waiting = false, false
}

func (s *files) totals() totals {
	t := s.follower.Stats()
	return totals{
		Files: t.Files, Behind: t.Behind, LostBytes: t.LostBytes, Gaps: t.Gaps, TooLong: t.Skipped, Problem: t.Problem,
	}
}

func (s *files) close() { s.follower.Close() }

// entries is a source of the journal.
type entries struct {
	from     string
	follower *journal.Follower
	stop     func()
	held     *journal.Entry // was read while waiting
	saved    string         // the cursor up to which everything was handed in
	read     string
	until    string // the end of the last batch of the last run, or empty
	tooLong  int
	fresh    bool
}

func newEntries(ctx context.Context, from string, opts journal.Options, p position) *entries {
	opts.Cursor = p.Cursor
	s := &entries{from: from, follower: journal.New(opts), saved: p.Cursor, read: p.Cursor, until: p.Until}
	s.stop = background(ctx, s.follower.Run)
	return s
}

func (s *entries) next() (l line, st status) {
	for {
		var e journal.Entry
		if s.held != nil {
			e, s.held = *s.held, nil
		} else {
			select {
			case e = <-s.follower.Entries():
			default:
				return l, none
			}
		}
		s.read = e.Cursor
		last := s.until == e.Cursor
		if last {
			s.until = ""
		}
		if e.TooLong {
			s.tooLong++
			continue
		}
		return line{
			text: e.Message, time: e.Time, where: "journal " + e.Unit + " " + e.Cursor, at: -1,
			last: last,
		}, got
	}
}

func (s *entries) wait(ctx context.Context, most time.Duration) {
	if s.held != nil {
		return
	}
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case e := <-s.follower.Entries():
		s.held = &e
	case <-ctx.Done():
	case <-t.C:
	}
}

func (s *entries) position() (position, bool) {
	if s.saved == "" {
		// Nothing has come yet. The next run goes on from where this one has begun.
		s.saved, s.fresh = s.follower.Begin(), s.follower.Begin() != ""
	}
	p := position{From: s.from, Cursor: s.saved}
	if s.until != "" {
		p.Until = s.until // this run may end before it has read all of that again
	} else if s.read != s.saved {
		p.Until = s.read
	}
	fresh := s.fresh
	s.fresh = false
	return p, fresh
}

func (s *entries) id() string { return s.read }

func (s *entries) again() bool { return s.until != "" }

func (s *entries) commit() {
	s.fresh = s.fresh || s.read != s.saved && s.read != ""
	if s.read != "" {
		s.saved = s.read
	}
}

func (s *entries) totals() totals {
	t := s.follower.Stats()
	return totals{Gaps: t.Gaps, TooLong: s.tooLong, Foreign: t.Foreign, Problem: t.Problem}
}

func (s *entries) close() { s.stop() }

// datagrams is a source of a socket. What was not handed in is gone with the process.
type datagrams struct {
	path   string
	socket *syslog.Socket
	stop   func()
	held   []byte
}

func newDatagrams(ctx context.Context, path string, uids []int) *datagrams {
	s := &datagrams{path: path, socket: syslog.New(path, uids)}
	s.stop = background(ctx, s.socket.Run)
	return s
}

func (s *datagrams) next() (l line, st status) {
	m := s.held
	s.held = nil
	if m == nil {
		select {
		case m = <-s.socket.Messages():
		default:
			return l, none
		}
	}
	s.socket.Done(m)
	return line{text: syslog.Text(m), program: syslog.Program(m), time: time.Now(), where: s.path, at: -1}, got
}

func (s *datagrams) wait(ctx context.Context, most time.Duration) {
	if s.held != nil {
		return
	}
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case s.held = <-s.socket.Messages():
	case <-ctx.Done():
	case <-t.C:
	}
}

func (s *datagrams) position() (position, bool) { return position{From: s.path}, false }

func (s *datagrams) id() string { return "" }

func (s *datagrams) again() bool { return false }

func (s *datagrams) commit() {}

func (s *datagrams) totals() totals {
	t := s.socket.Stats()
	return totals{
		LostBytes: t.LostBytes, Lost: t.Lost, TooLong: t.TooLong, Foreign: t.Strangers, Problem: t.Problem,
	}
}

func (s *datagrams) close() { s.stop() }

// background runs f until stop is called, or ctx is done.
func background(ctx context.Context, f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
