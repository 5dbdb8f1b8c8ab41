package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/paraxial/paraxial/control"
)

// progress draws the progress of an import, on a terminal only.
type progress struct {
	w     io.Writer // nil: not a terminal
	now   func() time.Time
	drawn time.Time
}

func newProgress(stderr io.Writer, now func() time.Time) *progress {
	b := &progress{now: now}
	if f, ok := stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b.w = f
	}
	return b
}

func (b *progress) show(p control.ImportProgress) {
	const pause = 50 * time.Millisecond
	if b.w == nil || b.now().Sub(b.drawn) < pause {
		return
	}
	b.drawn = b.now()
	fmt.Fprintf(b.w, "\r\x1b[K%s", progressText(p))
}

// clear removes the bar.
func (b *progress) clear() {
	if b.w != nil && !b.drawn.IsZero() {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}

func progressText(p control.ImportProgress) string {
	const width = 30
	if p.Total == 0 {
		return fmt.Sprintf("reading: %s lines", count(p.Read))
	}
	done := width * min(p.Applied, p.Total) / p.Total
	return fmt.Sprintf("applying: [%s%s] %s of %s",
		strings.Repeat("#", done), strings.Repeat(".", width-done), count(p.Applied), count(p.Total))
}
