package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// These sequences work on every terminal in use. Lines are not wrapped, so that a
// line that is too long while the window shrinks does not move the others.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l" // other screen, no cursor, no wrapping
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	cursorHome  = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
	inverse     = "\x1b[7m"
	normal      = "\x1b[0m"
)

// terminal is a screen that only this program uses, until close.
type terminal struct {
	out     io.Writer
	size    func() (width, height int)
	keys    <-chan byte // nil: there is no keyboard
	resized <-chan os.Signal
	close   func()
}

// hasTerminal reports whether there is a screen to draw on.
func (p *program) hasTerminal() bool {
	f, ok := p.stdout.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && p.getenv("TERM") != "dumb"
}

// openTerminal switches the terminal to another screen and to single keys.
func (p *program) openTerminal() (*terminal, error) {
	out := p.stdout.(*os.File)
	resized := make(chan os.Signal, 1)
	t := &terminal{out: out, resized: resized, size: func() (int, int) { return sizeOf(out) }}
	restore := func() {}
	if in, ok := p.stdin.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		state, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return nil, fmt.Errorf("set the terminal to single keys: %w; use --once", err)
		}
		restore = func() { term.Restore(int(in.Fd()), state) }
		t.keys = readKeys(in)
	}
	signal.Notify(resized, unix.SIGWINCH)
	io.WriteString(out, enterScreen)
	t.close = func() {
		signal.Stop(resized)
		io.WriteString(out, leaveScreen)
		restore()
	}
	return t, nil
}

// sizeOf returns the size of a terminal, or the usual 80 by 24 if it is unknown.
func sizeOf(f *os.File) (width, height int) {
	width, height, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		return 80, 24
	}
	return width, height
}

// readKeys sends the keys that are pressed. A read from a terminal cannot be
// cancelled, so the goroutine lives as long as the program.
func readKeys(in io.Reader) <-chan byte {
	keys := make(chan byte)
	go func() {
		defer close(keys)
		b := make([]byte, 1)
		for {
			if n, err := in.Read(b); err != nil || n == 0 {
				return
			}
			keys <- b[0]
		}
	}()
	return keys
}

// draw writes lines over those on the screen. The first line is a bar. It clears
// only what remains after each line, so that nothing flickers.
func (t *terminal) draw(lines []string) error {
	var b bytes.Buffer
	b.WriteString(cursorHome)
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		if i == 0 {
			line = inverse + line + normal
		}
		b.WriteString(line + clearLine)
	}
	b.WriteString(clearBelow)
	_, err := t.out.Write(b.Bytes())
	return err
}
