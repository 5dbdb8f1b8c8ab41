package report

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// streamProtocol is the protocol of a stream, in the header Upgrade.
const streamProtocol = "ndjson"

// maxBatch is the number of lines of a stream that are answered at once. Reporters take turns
// between batches.
const maxBatch = 64

// errStreamed tells that the connection was a stream, which has ended.
var errStreamed = errors.New("the connection was a stream")

// question is a line of a stream. It has one field.
type question struct {
	Event   *Event      `json:"event"`
	Rate    *Event      `json:"rate"`
	Verdict *netip.Addr `json:"verdict"`
}

// stream makes the connection one of questions and answers, one line each, in the order of the
// questions.
func (c *call) stream() (any, error) {
	if !strings.EqualFold(c.r.Header.Get("Upgrade"), streamProtocol) || c.r.ContentLength != 0 {
		return nil, invalid("want the headers Connection: Upgrade and Upgrade: %s, and no body", streamProtocol)
	}
	c.streams.Add(1)
	defer c.streams.Done()
	nc, rw, err := c.rc.Hijack()
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-c.stopping:
			nc.Close()
		case <-ended:
		}
	}()
	nc.SetDeadline(time.Time{})
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	in := io.MultiReader(bytes.NewReader(early), nc)
	s := stream{call: c, nc: nc, in: bufio.NewReaderSize(in, MaxLine)}
	s.out.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + streamProtocol +
		"\r\n\r\n")
	for s.flush() && s.next() {
	}
	s.flush()
	return nil, errStreamed
}

// stream is the connection of a reporter that asks line by line.
type stream struct {
	*call
	nc  net.Conn
	in  *bufio.Reader
	out bytes.Buffer // answers that are not written yet
}

// flush writes the answers. The reporter must read them in time.
func (s *stream) flush() bool {
	if s.out.Len() == 0 {
		return true
	}
	s.nc.SetWriteDeadline(time.Now().Add(s.opts.StallTimeout))
	_, err := s.nc.Write(s.out.Bytes())
	s.out.Reset()
	return err == nil
}

// next answers the lines that are there, after it has waited for the first one. The connection
// is idle meanwhile, so it may be closed to make room for another one.
func (s *stream) next() bool {
	if s.in.Buffered() == 0 {
		s.conn.SetBusy(false)
	}
	if _, err := s.in.Peek(1); err != nil || !s.conn.SetBusy(true) {
		return false
	}
	line, ok := s.line()
	if !ok {
		return false
	}
	ctx := s.r.Context()
	if err := s.work.Enter(ctx, s.uid); err != nil {
		return false
	}
	defer s.work.Leave(s.uid)
	if s.rights, ok = s.backend.Reporter(s.uid); !ok {
		s.answer(nil, noReporter(s.uid))
		return false
	}
	over := false
	for n := 1; ; n++ {
		out, err := s.reply(ctx, line)
		over = over || codeOf(err) == CodeBudget
		s.answer(out, err)
		if n == maxBatch || !s.buffered() {
			break
		}
		line, _ = s.line()
	}
	if over {
		s.slowDown(ctx)
	}
	return true
}

// buffered reports whether a whole line is there.
func (s *stream) buffered() bool {
	ahead, _ := s.in.Peek(s.in.Buffered())
	return bytes.IndexByte(ahead, '\n') >= 0
}

// line returns the next line, which is valid until the call after it.
func (s *stream) line() ([]byte, bool) {
	if !s.buffered() {
		s.nc.SetReadDeadline(time.Now().Add(s.opts.StallTimeout))
		defer s.nc.SetReadDeadline(time.Time{})
	}
	line, err := s.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		s.answer(nil, Errorf(CodeTooLarge, "the line is longer than %d bytes, and the stream ends", MaxLine))
	}
	return line, err == nil
}

// reply answers a question.
func (s *stream) reply(ctx context.Context, line []byte) (any, error) {
	q, err := decodeQuestion(line)
	if err != nil {
		return nil, invalid("%v", err)
	}
	switch (question{Event: q.Event, Rate: q.Rate, Verdict: q.Verdict}) {
	case question{Event: q.Event}:
		if q.Event != nil {
			return empty{}, s.countOne(ctx, s.rights, *q.Event)
		}
	case question{Rate: q.Rate}:
		return s.rateOf(ctx, s.rights, *q.Rate)
	case question{Verdict: q.Verdict}:
		return s.verdictOf(s.rights, *q.Verdict)
	}
	return nil, invalid(`want one of {"event":EVENT}, {"rate":EVENT} and {"verdict":ADDRESS}`)
}

func (s *stream) answer(v any, err error) {
	if err != nil {
		e := wireError(err)
		if e.Code == CodeInternal {
			s.opts.Log.Error("report: question failed", "reporter", s.rights.Name, "error", err)
		}
		v = envelope{&Error{Code: e.Code, Message: visible(cut(e.Message, maxRefusal))}}
	}
	if verdict, ok := v.(Verdict); ok {
		s.out.Write(append(appendVerdict(s.out.AvailableBuffer(), verdict), '\n'))
		return
	}
	data, err := json.Marshal(v)
	if err != nil {
		data = []byte(`{"error":{"code":"internal","message":"the answer cannot be encoded"}}`)
	}
	s.out.Write(append(data, '\n'))
}
