package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
)

// pty opens a terminal of a size. It returns the side of the person and the side of
// the program.
func pty(t *testing.T, width, height uint16) (person, program *os.File) {
	t.Helper()
	open := func(path string) *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	person = open("/dev/ptmx")
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program = open(fmt.Sprintf("/dev/pts/%d", n))
	resize(t, person, width, height)
	return person, program
}

func resize(t *testing.T, f *os.File, width, height uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height}); err != nil {
		t.Fatal(err)
	}
}

func mode(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *m
}

// session is a run of top on a terminal.
type session struct {
	t      *testing.T
	person *os.File
	shown  chan string
	seen   string
	code   chan int
	stop   context.CancelFunc
}

func startTop(t *testing.T, socket string, person, program *os.File, args ...string) *session {
	ctx, stop := context.WithCancel(t.Context())
	s := &session{t: t, person: person, shown: make(chan string, 1000), code: make(chan int, 1), stop: stop}
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, err := person.Read(b)
			if err != nil {
				return
			}
			s.shown <- string(b[:n])
		}
	}()
	go func() {
		s.code <- run(ctx, append([]string{"top", "--interval", "100ms"}, args...), environment{
			stdin: program, stdout: program, stderr: io.Discard, now: func() time.Time { return noon },
			getenv: func(name string) string {
				return map[string]string{"PARAXIAL_SOCKET": socket,
					"LANG": "C.UTF-8"}[name]
			},
		})
	}()
	return s
}

// sees waits until text is shown after the text of the call before.
func (s *session) sees(text string) {
	s.t.Helper()
	limit := time.After(time.Minute)
	for !strings.Contains(s.seen, text) {
		select {
		case more := <-s.shown:
			s.seen += more
		case <-limit:
			s.t.Fatalf("%q is not in %q", text, s.seen)
		}
	}
	s.seen = s.seen[strings.Index(s.seen, text)+len(text):]
}

// ends waits for the end of the program, and checks its exit code.
func (s *session) ends(code int) {
	s.t.Helper()
	select {
	case got := <-s.code:
		if got != code {
			s.t.Errorf("exit code %d, want %d", got, code)
		}
	case <-time.After(time.Minute):
		s.t.Fatal("it does not end")
	}
}

// TestTopLive: keys, sizes and a lost daemon on a real terminal, whose settings are
// restored.
func TestTopLive(t *testing.T) {
	f := &fake{top: []control.TopResult{floods()}}
	person, program := pty(t, 80, 24)
	before := mode(t, program)
	s := startTop(t, serve(t, f), person, program)
	s.sees(enterScreen + cursorHome + inverse + "paraxial top")
	s.sees("[r share]")
	if mode(t, program).Lflag&(unix.ICANON|unix.ECHO) != 0 {
		t.Error("keys are echoed, or wait for the end of a line")
	}
	s.sees(cursorHome) // again, without a key
	fmt.Fprint(person, "s")
	s.sees("[s source]")
	fmt.Fprint(person, "s")
	s.sees("[s -source]")

	resize(t, person, 200, 10)
	s.sees("OTHER RATES")

	f.mu.Lock()
	f.err = errFull
	f.mu.Unlock()
	s.sees("NO ANSWER for 0s, trying again: save: no space left on device")
	s.sees("203.0.113.99") // the last table stays
	f.mu.Lock()
	f.err = nil
	f.mu.Unlock()
	s.sees("3 sources, 2 at a limit or over" + strings.Repeat(" ", 145) + normal + clearLine +
		"\r\nSOURCE") // and no notice

	fmt.Fprint(person, "q")
	s.sees(leaveScreen)
	s.ends(exitDone)
	if after := mode(t, program); after != before {
		t.Errorf("the terminal settings were not restored:\n%+v\n%+v", before, after)
	}
}

// TestTopResize: a new size is drawn at once, not with the next refresh.
func TestTopResize(t *testing.T) {
	person, program := pty(t, 80, 24)
	s := startTop(t, serve(t, &fake{top: []control.TopResult{floods()}}), person, program, "--interval", "1h")
	s.sees("[r share]")
	resize(t, person, 200, 10)
	if err := unix.Kill(os.Getpid(), unix.SIGWINCH); err != nil { // it is not our controlling terminal
		t.Fatal(err)
	}
	s.sees("OTHER RATES")
	s.stop()
	s.ends(exitDone)
}

// TestTopJSONOnTerminal: with -o json, top does not draw on the terminal.
func TestTopJSONOnTerminal(t *testing.T) {
	person, program := pty(t, 80, 24)
	s := startTop(t, serve(t, &fake{top: []control.TopResult{floods()}}), person, program, "-o", "json")
	s.sees(`{"time":"2026-11-23T12:00:00Z","sources":[{"source":"2001:db8:1234:5678::/64"`)
	s.stop()
	s.ends(exitDone)
}

// TestTopEnds: every way to end restores the terminal.
func TestTopEnds(t *testing.T) {
	for name, end := range map[string]func(*session){
		"ctrl-C": func(s *session) { fmt.Fprint(s.person, "\x03") },
		"ctrl-D": func(s *session) { fmt.Fprint(s.person, "\x04") },
		"signal": func(s *session) { s.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			person, program := pty(t, 80, 24)
			before := mode(t, program)
			s := startTop(t, serve(t, &fake{top: []control.TopResult{floods()}}), person, program, "--limit", "1")
			s.sees("3 sources, 2 at a limit or over, 1 shown")
			end(s)
			s.sees(leaveScreen)
			s.ends(exitDone)
			if after := mode(t, program); after != before {
				t.Errorf("the terminal settings were not restored:\n%+v\n%+v", before, after)
			}
		})
	}
}

// TestTopWithoutDaemon: without a daemon, top does not draw on the terminal.
func TestTopWithoutDaemon(t *testing.T) {
	person, program := pty(t, 80, 24)
	s := startTop(t, "/nonexistent", person, program)
	s.ends(exitUnreachable)
	select {
	case text := <-s.shown:
		t.Errorf("shown: %q", text)
	default:
	}
}

// TestTopPipeLosesDaemon: in a pipe, a lost daemon ends top with exit code 3.
func TestTopPipeLosesDaemon(t *testing.T) {
	r, w := io.Pipe()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(socket, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go control.NewServer(&fake{}, control.Options{Log: slog.New(slog.DiscardHandler)}).Serve(ctx, l)
	code := make(chan int, 1)
	go func() {
		code <- run(t.Context(), split("top --interval 100ms --socket "+socket), environment{
			stdin: strings.NewReader(""), stdout: w, stderr: io.Discard, now: func() time.Time { return noon },
			getenv: func(string) string { return "" },
		})
		w.Close()
	}()
	readUntil(t, r, func(s string) bool { return strings.Contains(s, "no source is near a limit") })
	stop()
	go io.Copy(io.Discard, r)
	select {
	case got := <-code:
		if got != exitUnreachable {
			t.Errorf("exit code %d, want %d", got, exitUnreachable)
		}
	case <-time.After(time.Minute):
		t.Error("it goes on")
	}
}

// screenless returns a terminal that records the output.
func screenless(keys chan byte) (*terminal, *bytes.Buffer) {
	var drawn bytes.Buffer
	return &terminal{out: &drawn, size: func() (int, int) { return 80, 24 }, keys: keys}, &drawn
}

// TestTopPanic: a panic during a request reaches the goroutine that restores the
// terminal.
func TestTopPanic(t *testing.T) {
	v := view(floods())
	v.interval = time.Millisecond
	screen, _ := screenless(nil)
	defer func() {
		if p := recover(); p != "off by one" {
			t.Errorf("recovered %v", p)
		}
	}()
	v.run(t.Context(), screen, func(context.Context) (control.TopResult, error) { panic("off by one") })
	t.Error("it went on")
}

// TestTopKeyboardGone: without a keyboard, top runs until a signal.
func TestTopKeyboardGone(t *testing.T) {
	v := view(floods())
	v.interval = time.Millisecond
	keys := make(chan byte)
	close(keys)
	screen, drawn := screenless(keys)
	ctx, stop := context.WithCancel(t.Context())
	looks := 0
	err := v.run(ctx, screen, func(context.Context) (control.TopResult, error) {
		if looks++; looks == 5 {
			stop()
		}
		return floods(), nil
	})
	// One drawing for the missing keyboard, and at most two for each request.
	if n := strings.Count(drawn.String(), cursorHome); err != nil || n > 12 {
		t.Errorf("%v, drawn %d times", err, n)
	}
}

// TestTopScreenGone: a failed write to the terminal ends top.
func TestTopScreenGone(t *testing.T) {
	screen, _ := screenless(nil)
	screen.out = failingWriter{}
	if err := view(floods()).run(t.Context(), screen, nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
