package paraxial

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

const (
	maxOpen    = 1024 // questions without an answer
	maxLine    = 64 << 10
	openTime   = time.Second     // for a new stream
	answerTime = 5 * time.Second // then the stream is given up
	awayTime   = time.Second / 2 // after a failure, before the next try
)

// question is a line to the daemon. It has one field.
type question struct {
	Rate    *Event      `json:"rate,omitempty"`
	Verdict *netip.Addr `json:"verdict,omitempty"`
}

// answer is a line of the daemon.
type answer struct {
	Verdict
	Error *Error `json:"error"`
}

// asked is a question that waits for its answer.
type asked struct {
	line   []byte
	answer chan reply // of one
}

type reply struct {
	line []byte
	err  error
}

// stream asks the daemon over one connection. Answers come in the order of the questions.
type stream struct {
	socket    string
	questions chan asked
}

func newStream(socket string) *stream {
	return &stream{socket: socket, questions: make(chan asked, maxOpen)}
}

func (s *stream) ask(ctx context.Context, q question) (Verdict, error) {
	line, err := json.Marshal(q)
	if err != nil {
		return Verdict{}, err
	}
	a := asked{append(line, '\n'), make(chan reply, 1)}
	select {
	case s.questions <- a:
	default:
		return Verdict{}, fmt.Errorf("%d questions wait: %w", maxOpen, ErrAway)
	}
	select {
	case r := <-a.answer:
		return r.verdict()
	case <-ctx.Done():
		return Verdict{}, context.Cause(ctx)
	}
}

func (r reply) verdict() (Verdict, error) {
	if r.err != nil {
		return Verdict{}, r.err
	}
	var a answer
	if err := json.Unmarshal(r.line, &a); err != nil {
		return Verdict{}, fmt.Errorf("read paraxiald's answer: %w", err)
	}
	if a.Error != nil {
		return Verdict{}, a.Error
	}
	return a.Verdict, nil
}

// run passes questions on until ctx is done. It connects for a question, and stays connected
// until the daemon ends the stream.
func (s *stream) run(ctx context.Context) {
	var failed error
	var at time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-s.questions:
			if failed != nil && time.Since(at) < awayTime {
				q.answer <- reply{err: failed}
				continue
			}
			var c *connection
			if c, failed = s.open(ctx); failed != nil {
				failed, at = fmt.Errorf("paraxiald's socket %s: %w: %w", s.socket, ErrAway, failed), time.Now()
				q.answer <- reply{err: failed}
				continue
			}
			c.serve(ctx, q)
		}
	}
}

// open opens a stream.
func (s *stream) open(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, "unix", s.socket)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(openTime))
	io.WriteString(nc, "GET /v1/stream HTTP/1.1\r\nHost: paraxiald\r\nConnection: Upgrade\r\nUpgrade: ndjson\r\n\r\n")
	in := bufio.NewReaderSize(nc, maxLine)
	resp, err := http.ReadResponse(in, nil)
	if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
		err = refusal(resp)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	nc.SetDeadline(time.Time{})
	return &connection{questions: s.questions, nc: nc, in: in, open: make(chan asked, maxOpen)}, nil
}

// refusal returns the error of an answer that is no stream.
func refusal(resp *http.Response) error {
	var a answer
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err := json.Unmarshal(data, &a); err != nil || a.Error == nil {
		return fmt.Errorf("unexpected answer: HTTP %s", resp.Status)
	}
	return a.Error
}

// connection is an open stream.
type connection struct {
	questions chan asked
	nc        net.Conn
	in        *bufio.Reader
	open      chan asked // in the order in which they were sent
}

// serve asks q and further questions until the stream ends.
func (c *connection) serve(ctx context.Context, q asked) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.read()
	}()
	out := bufio.NewWriter(c.nc)
	for ok := true; ok; {
		if ok = c.write(out, q); !ok {
			break
		}
		select {
		case q, ok = <-c.next(ended):
		case <-ended:
			ok = false
		case <-ctx.Done():
			ok = false
		}
	}
	c.nc.Close()
	<-ended
	close(c.open)
	for q := range c.open {
		q.answer <- reply{err: errEnded}
	}
}

// next returns the channel of questions, or none after the end of the stream.
func (c *connection) next(ended chan struct{}) chan asked {
	select {
	case <-ended:
		return nil
	default:
		return c.questions
	}
}

var errEnded = fmt.Errorf("the stream has ended: %w", ErrAway)

// write sends a question. Questions that wait already follow it in the same packet.
func (c *connection) write(out *bufio.Writer, q asked) bool {
	c.nc.SetWriteDeadline(time.Now().Add(answerTime))
	for {
		if len(c.open) == 0 {
			c.nc.SetReadDeadline(time.Now().Add(answerTime))
		}
		select {
		case c.open <- q:
		default:
			q.answer <- reply{err: fmt.Errorf("%d questions are open: %w", maxOpen, ErrAway)}
			return out.Flush() == nil
		}
		out.Write(q.line)
		select {
		case q = <-c.questions:
		default:
			return out.Flush() == nil
		}
	}
}

// read passes answers on until the stream ends. It is given up if an answer does not come.
func (c *connection) read() {
	for {
		line, err := c.in.ReadSlice('\n')
		var slow net.Error
		if errors.As(err, &slow) && slow.Timeout() && len(c.open) == 0 && len(line) == 0 {
			c.nc.SetReadDeadline(time.Now().Add(answerTime)) // nothing was asked
			continue
		}
		if err != nil {
			return
		}
		c.nc.SetReadDeadline(time.Now().Add(answerTime))
		q := <-c.open
		q.answer <- reply{line: bytes.Clone(line)}
	}
}
