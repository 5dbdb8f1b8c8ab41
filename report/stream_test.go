package report

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const upgrade = "GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ndjson\r\n\r\n"

// testStream is a stream of questions.
type testStream struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

// openStream opens a stream. The lines follow the head of the request at once.
func openStream(t *testing.T, socket, lines string) *testStream {
	t.Helper()
	nc, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(soon))
	io.WriteString(nc, upgrade+lines)
	s := &testStream{nc, t, bufio.NewReader(nc)}
	for _, want := range []string{"HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: ndjson", ""} {
		if got := s.read(); got != want {
			t.Fatalf("answer to the upgrade: %q, want %q", got, want)
		}
	}
	return s
}

func (s *testStream) read() string {
	s.t.Helper()
	line, err := s.in.ReadString('\n')
	if err != nil {
		s.t.Fatalf("read: %v", err)
	}
	return strings.TrimRight(line, "\r\n")
}

// ended fails unless the server closes the stream.
func (s *testStream) ended(what string) {
	s.t.Helper()
	if rest, err := io.ReadAll(s.in); err != nil && strings.Contains(err.Error(), "timeout") {
		s.t.Errorf("%s: the stream is open: %q, %v", what, rest, err)
	}
}

const rateQuestion = `{"rate":{"address":"192.0.2.3","rule":"login"}}`

// Questions are answered in their order, also those that are not valid.
func TestStream(t *testing.T) {
	f := allow(shop())
	socket, board := serve(t, f, Options{})
	s := openStream(t, socket,
		`{"event":{"address":"192.0.2.1","rule":"login"}}`+"\n"+`{"verdict":"192.0.2.2"}`+"\n"+rateQuestion[:9])
	io.WriteString(s, rateQuestion[9:]+"\n"+strings.Join([]string{
		`{}`, `x`, `{"verdict":"192.0.2.2","rate":{"address":"192.0.2.3","rule":"login"}}`, `{"ban":{}}`,
		`{"event":{"address":"192.0.2.1","rule":"unknown"}}`, `{"event":{"address":"192.0.2.1","rule":"other"}}`,
		`{"verdict":"fe80::1%eth0"}`,
	}, "\n")+"\n")
	failed := func(code string) string { return `{"error":{"code":"` + code + `"` }
	for _, want := range []string{
		`{}`,
		`{"address":"192.0.2.2","verdict":"pass","origin":"","tags":[]}`,
		`{"address":"192.0.2.3","verdict":"drop","origin":"rule:login","points":6,"limit":5,"tags":[]}`,
		failed(CodeInvalidRequest), failed(CodeInvalidRequest), failed(CodeInvalidRequest), failed(CodeInvalidRequest),
		failed("unknown_rule"), failed(CodeForbidden), failed(CodeInvalidRequest),
	} {
		if got := s.read(); !strings.HasPrefix(got, want) {
			t.Errorf("answer %s, want %s", got, want)
		}
	}
	if present, _ := board.Present("shop"); !present {
		t.Error("the reporter is not there")
	}
}

// Rights are asked again while a stream is open.
func TestStreamRights(t *testing.T) {
	rights := make(chan Rights, 3)
	f := &fake{rights: func(uint32) (Rights, bool) {
		select {
		case r := <-rights:
			return r, true
		default:
			return Rights{}, false
		}
	}}
	rights <- shop() // of the connection
	rights <- shop() // of the request
	socket, _ := serve(t, f, Options{})
	s := openStream(t, socket, "")
	less := shop()
	less.MayAsk = false
	rights <- less
	io.WriteString(s, `{"verdict":"192.0.2.2"}`+"\n")
	if got := s.read(); !strings.Contains(got, CodeForbidden) {
		t.Errorf("without the right: %s", got)
	}
	io.WriteString(s, `{"verdict":"192.0.2.2"}`+"\n")
	if got := s.read(); !strings.Contains(got, "is no reporter: root names") {
		t.Errorf("no reporter: %s", got)
	}
	s.ended("no reporter")
}

// A stream that is abused ends, and takes nothing from others meanwhile.
func TestStreamBounds(t *testing.T) {
	const stall = 300 * time.Millisecond
	t.Run("long line", func(t *testing.T) {
		socket, _ := serve(t, allow(shop()), Options{})
		s := openStream(t, socket, rateQuestion+strings.Repeat(" ", MaxLine-len(rateQuestion)-1)+"\n")
		if got := s.read(); !strings.HasPrefix(got, `{"address"`) {
			t.Errorf("the longest line: %s", got)
		}
		io.WriteString(s, strings.Repeat(" ", MaxLine))
		if got := s.read(); !strings.Contains(got, CodeTooLarge) {
			t.Errorf("a longer line: %s", got)
		}
		s.ended("a longer line")
	})
	t.Run("half a line", func(t *testing.T) {
		socket, _ := serve(t, allow(shop()), Options{StallTimeout: stall})
		s := openStream(t, socket, rateQuestion[:20])
		s.ended("half a line")
	})
	t.Run("answers are not read", func(t *testing.T) {
		r := shop()
		r.EventsPerSecond = 1_000_000
		f := allow(r)
		socket, _ := serve(t, f, Options{StallTimeout: stall})
		s := openStream(t, socket, "")
		sent := 0
		for { // until the server reads no more and ends the stream
			if _, err := io.WriteString(s, strings.Repeat(rateQuestion+"\n", 100)); err != nil {
				if strings.Contains(err.Error(), "timeout") {
					t.Errorf("the stream is open after %d questions: %v", sent, err)
				}
				break
			}
			sent += 100
		}
		if answered := len(f.taken()); answered >= 20_000 {
			t.Errorf("%d questions were worked on though no answer was read", answered)
		}
	})
	t.Run("idle for longer than a stall", func(t *testing.T) {
		socket, _ := serve(t, allow(shop()), Options{StallTimeout: time.Millisecond})
		s := openStream(t, socket, "")
		time.Sleep(20 * time.Millisecond)
		io.WriteString(s, rateQuestion+"\n")
		if got := s.read(); !strings.HasPrefix(got, `{"address"`) {
			t.Errorf("after a pause: %s", got)
		}
	})
	t.Run("over the budget", func(t *testing.T) {
		r := shop()
		r.EventsPerSecond = 10
		socket, _ := serve(t, allow(r), Options{OverBudget: time.Millisecond})
		s := openStream(t, socket, strings.Repeat(rateQuestion+"\n", 50))
		refused := 0
		for range 50 {
			if strings.Contains(s.read(), `"`+CodeBudget+`"`) {
				refused++
			}
		}
		if refused == 0 || refused > 40 {
			t.Errorf("%d of 50 questions were refused, with a budget of 10 at once", refused)
		}
	})
}

// Idle streams make room for other connections of their reporter.
func TestIdleStreamsMakeRoom(t *testing.T) {
	socket, _ := serve(t, allow(shop()), Options{MaxConns: 2})
	first := openStream(t, socket, "")
	second := openStream(t, socket, rateQuestion+"\n")
	second.read()
	third := openStream(t, socket, rateQuestion+"\n")
	third.read()
	first.ended("the stream that was idle for longest")
	io.WriteString(second, rateQuestion+"\n")
	second.read()
}

// The server stops although streams are open, and ends them.
func TestStreamsEndWithTheServer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	server := NewServer(allow(shop()), &Board{}, Options{Log: slog.New(slog.DiscardHandler)})
	go func() { served <- server.Serve(ctx, l) }()
	var streams []*testStream
	for range 3 {
		s := openStream(t, socket, rateQuestion+"\n")
		s.read()
		streams = append(streams, s)
	}
	stop()
	if err := waitFor(t, served, "the server to stop"); err != nil {
		t.Error(err)
	}
	for _, s := range streams {
		s.ended("the server has stopped")
	}
}
