package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"
)

// soon is longer than anything here takes on a busy machine.
const soon = time.Minute

func TestStreamFailsMidway(t *testing.T) {
	f := &fake{list: func(_ context.Context, yield func(Entry) error) error {
		for range 3 {
			if err := yield(entry); err != nil {
				return err
			}
		}
		return errBroken
	}}
	socket := serve(t, f, Options{})
	got := request(t, socket, "GET", "/v1/entries", "")
	lines := strings.Split(strings.TrimSpace(got.Body), "\n")
	if len(lines) != 4 || lines[3] != `{"error":{"code":"internal","message":"the disk is on fire"}}` {
		t.Errorf("got %q", got.Body)
	}
	n := 0
	err := NewClient(socket).Entries(t.Context(), "", "", func(Entry) error { n++; return nil })
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeInternal || n != 3 {
		t.Errorf("client: %d entries, %v", n, err)
	}
}

// TestStreamFailsAtOnce: an error before the first line has its own status.
func TestStreamFailsAtOnce(t *testing.T) {
	f := &fake{list: func(context.Context, func(Entry) error) error { return Errorf(CodeBusy, "loading") }}
	got := request(t, serve(t, f, Options{}), "GET", "/v1/entries", "")
	if got.Status != 503 || got.Type != "application/json" {
		t.Errorf("got %+v", got)
	}
}

func TestYieldEndsClientStream(t *testing.T) {
	left := make(chan struct{})
	f := &fake{list: func(ctx context.Context, yield func(Entry) error) error {
		defer close(left)
		for {
			if err := yield(entry); err != nil {
				return err
			}
		}
	}}
	err := NewClient(serve(t, f, Options{})).Entries(t.Context(), "", "", func(Entry) error { return errBroken })
	if !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	waitFor(t, left, "the backend to hear that the client has gone")
}

func TestWatchCancel(t *testing.T) {
	left := make(chan struct{})
	f := &fake{watch: func(ctx context.Context, yield func(Event) error) error {
		defer close(left)
		if err := yield(Event{Type: EventLost}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The event arrives while the stream continues: it is not held in a buffer.
	err := NewClient(serve(t, f, Options{})).Watch(ctx, func(Event) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	waitFor(t, left, "the backend's context to end")
}

// TestStopEndsStreams: a daemon that stops ends a watch in order, and sends an error to an import
// of an endless list.
func TestStopEndsStreams(t *testing.T) {
	started := make(chan struct{}, 2)
	f := &fake{
		watch: func(ctx context.Context, _ func(Event) error) error {
			started <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		},
		load: func(_ context.Context, list io.Reader) (ImportResult, error) {
			started <- struct{}{}
			_, err := io.ReadAll(list)
			return ImportResult{}, err
		},
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := Listen(socket, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served, watched, imported := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	var log bytes.Buffer
	go func() { served <- NewServer(f, Options{Log: slog.New(slog.NewTextHandler(&log, nil))}).Serve(ctx, l) }()
	c := NewClient(socket)
	go func() { watched <- c.Watch(t.Context(), func(Event) error { return nil }) }()
	list, endless := io.Pipe()
	defer endless.Close()
	go func() {
		_, err := c.Import(t.Context(), ImportRequest{Origin: "x"}, list, nil)
		imported <- err
	}()
	idle, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	endless.Write([]byte("192.0.2.1\n"))
	waitFor(t, started, "a stream")
	waitFor(t, started, "the other stream")
	stop()
	if err := waitFor(t, watched, "the watch to end"); err != nil {
		t.Errorf("watch: %v", err)
	}
	// A client that is writing may see a broken pipe before it reads the error.
	err = waitFor(t, imported, "the import to end")
	if err == nil || !strings.Contains(err.Error(), "the daemon is stopping") && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("import: %v", err)
	}
	endless.Close()
	if err := waitFor(t, served, "Serve to return"); err != nil {
		t.Errorf("serve: %v", err)
	}
	if log.Len() > 0 {
		t.Errorf("the stop had to cut connections off: %s", log.String())
	}
}

// TestImportCutOff: a list whose sender dies must not look like a short list.
func TestImportCutOff(t *testing.T) {
	result := make(chan error, 1)
	begun := make(chan error, 1)
	f := &fake{load: func(_ context.Context, list io.Reader) (ImportResult, error) {
		_, err := list.Read(make([]byte, 1))
		begun <- err
		if err == nil {
			_, err = io.Copy(io.Discard, list)
		}
		result <- err
		return ImportResult{}, err
	}}
	socket := serve(t, f, Options{})
	for _, header := range []string{
		"Content-Length: 1000", "Transfer-Encoding: chunked",
		"Content-Length: 1000\r\nExpect: 100-continue", // which the client does not read before it disconnects
	} {
		nc, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		body := "192.0.2.1\n"
		if strings.HasPrefix(header, "Transfer") {
			body = fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
		}
		fmt.Fprintf(nc, "POST /v1/import?origin=x HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n%s", header, body)
		if err := waitFor(t, begun, "the list to begin"); err != nil {
			t.Errorf("%s: the list begins with %v", header, err)
		}
		nc.Close()
		// The caller is the cause, so it is not a failure of the daemon.
		err = waitFor(t, result, "the backend")
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeInvalidRequest ||
			!strings.Contains(e.Message, "cut off") {
			t.Errorf("%s: the list ended with %v", header, err)
		}
	}
}

func TestImportSourceFails(t *testing.T) {
	result := make(chan error, 1)
	f := &fake{load: func(_ context.Context, list io.Reader) (ImportResult, error) {
		_, err := io.Copy(io.Discard, list)
		result <- err
		return ImportResult{}, err
	}}
	list := io.MultiReader(strings.NewReader("192.0.2.1\n"), iotest.ErrReader(errBroken))
	_, err := NewClient(serve(t, f, Options{})).Import(t.Context(), ImportRequest{Origin: "x"}, list, nil)
	if !errors.Is(err, errBroken) {
		t.Errorf("client: %v", err)
	}
	if err := waitFor(t, result, "the backend"); err == nil {
		t.Error("the backend took the list for complete")
	}
}

func TestImportStalls(t *testing.T) {
	list, endless := io.Pipe()
	defer endless.Close()
	_, err := NewClient(serve(t, &fake{}, Options{StallTimeout: 50 * time.Millisecond})).
		Import(t.Context(), ImportRequest{Origin: "x"}, list, nil)
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Message, "nothing came for 50ms") {
		t.Errorf("got %v", err)
	}
}

// TestImportRefusedWhileSending: an error does not wait for the end of a list
// that its sender is slow to produce.
func TestImportRefusedWhileSending(t *testing.T) {
	f := &fake{load: func(context.Context, io.Reader) (ImportResult, error) {
		return ImportResult{}, Errorf(CodeBusy, "another import is at work")
	}}
	c := NewClient(serve(t, f, Options{}))
	list, endless := io.Pipe()
	defer endless.Close()
	failed := make(chan error, 1)
	go func() {
		_, err := c.Import(t.Context(), ImportRequest{Origin: "x"}, list, nil)
		failed <- err
	}()
	err := waitFor(t, failed, "the error")
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeBusy {
		t.Errorf("got %v", err)
	}
}

// TestImportTooLong: a list over the limit is refused, nothing is applied, and the client receives
// the reason.
func TestImportTooLong(t *testing.T) {
	line := bytes.Repeat([]byte(" "), 4095)
	line = append(line, '\n')
	list := io.LimitReader(&repeat{line: line}, MaxList+1)
	f := &fake{load: func(_ context.Context, list io.Reader) (ImportResult, error) {
		_, err := io.Copy(io.Discard, list)
		return ImportResult{}, err
	}}
	_, err := NewClient(serve(t, f, Options{})).Import(t.Context(), ImportRequest{Origin: "x"}, list, nil)
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeTooLarge {
		t.Errorf("got %v", err)
	}
}

type repeat struct{ line []byte }

func (r *repeat) Read(b []byte) (int, error) { return copy(b, r.line), nil }

func TestSlowRequestIsBusy(t *testing.T) {
	f := &fake{status: func(ctx context.Context) (Status, error) {
		<-ctx.Done()
		return Status{}, ctx.Err()
	}}
	_, err := NewClient(serve(t, f, Options{RequestTimeout: 20 * time.Millisecond})).Status(t.Context())
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeBusy {
		t.Errorf("got %v", err)
	}
}

// TestStreamShare: streams of one uid are limited, and other requests still work.
func TestStreamShare(t *testing.T) {
	started := make(chan struct{})
	f := &fake{watch: func(ctx context.Context, _ func(Event) error) error {
		started <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}
	c := NewClient(serve(t, f, Options{MaxUIDStreams: 2}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- c.Watch(ctx, func(Event) error { return nil }) }()
		waitFor(t, started, "a watch")
	}
	third, giveUp := context.WithTimeout(t.Context(), soon)
	defer giveUp()
	go func() {
		select {
		case <-started: // it must not get here
		case <-third.Done():
		}
	}()
	err := c.Watch(third, func(Event) error { return nil })
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeBusy {
		t.Errorf("third watch: %v", err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("status: %v", err)
	}
	cancel()
	waitFor(t, done, "a watch to end")
	waitFor(t, done, "the other watch to end")
}

// TestClientGoneIsNotLogged: a reader that leaves is not a failure of the daemon.
func TestClientGoneIsNotLogged(t *testing.T) {
	var log bytes.Buffer
	left := make(chan struct{})
	f := &fake{list: func(_ context.Context, yield func(Entry) error) error {
		defer close(left)
		for {
			if err := yield(entry); err != nil {
				return err
			}
		}
	}}
	t.Run("leave", func(t *testing.T) {
		c := NewClient(serve(t, f, Options{Log: slog.New(slog.NewTextHandler(&log, nil))}))
		c.Entries(t.Context(), "", "", func(Entry) error { return errBroken })
		waitFor(t, left, "the backend")
	})
	if log.Len() > 0 {
		t.Errorf("logged: %s", log.String())
	}
}

func waitFor[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(soon):
		t.Fatalf("waited %v for %s", soon, what)
		panic("unreachable")
	}
}
