package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/paraxial/paraxial/control"
)

// shareMemory is the number of refreshes that the trend of a source shows.
const shareMemory = 8

// topView is the state of the display of top.
type topView struct {
	now      func() time.Time
	interval time.Duration
	limit    int // of sources; 0: no limit
	order    topOrder
	reversed bool
	sparks   bool // trends are drawn instead of written

	last    control.TopResult
	shares  map[string][]float64 // by source, the latest last
	widths  map[string]int       // by column of the screen; they only grow until a key is pressed
	problem error                // why last is out of date
	since   time.Time            // start of problem
}

// take makes r the result to show.
func (v *topView) take(r control.TopResult) {
	shares := make(map[string][]float64, len(r.Sources))
	for _, s := range r.Sources {
		of := append(v.shares[s.Source], s.Share)
		shares[s.Source] = of[max(0, len(of)-shareMemory):]
	}
	v.last, v.shares, v.problem = r, shares, nil
}

func (v *topView) sorted() []control.TopSource {
	return sortSources(v.last.Sources, v.order, v.reversed)
}

// rows returns how many sources to show if there is space for room of them.
func (v *topView) rows(room int) int {
	if v.limit > 0 {
		return v.limit
	}
	return room
}

// result returns the result for scripts: all sources unless there is a limit.
func (v *topView) result() control.TopResult {
	r := v.last
	r.Sources = v.sorted()
	r.Sources = r.Sources[:min(len(r.Sources), v.rows(len(r.Sources)))]
	return r
}

// answer is the outcome of one request to the daemon.
type answer struct {
	result control.TopResult
	err    error
	panic  any
}

// run shows the results of look until a key or ctx ends it. It continues if the
// daemon does not answer.
func (v *topView) run(ctx context.Context, t *terminal, look func(context.Context) (control.TopResult, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, 1)
	next := time.NewTimer(v.interval)
	defer next.Stop()
	for {
		width, height := t.size()
		if err := t.draw(v.screen(width, height)); err != nil {
			return fmt.Errorf("draw on the terminal: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil // an interruption is the normal end
		case <-t.resized:
		case key, ok := <-t.keys:
			if !ok {
				t.keys = nil
			} else if quit := v.press(key); quit {
				return nil
			}
		case <-next.C:
			go func() { answers <- lookOnce(ctx, look) }()
		case a := <-answers:
			v.hear(a)
			next.Reset(v.interval)
		}
	}
}

// lookOnce calls look. It also returns a panic, so that hear can raise it in the
// goroutine that restores the terminal.
func lookOnce(ctx context.Context, look func(context.Context) (control.TopResult, error)) (a answer) {
	const patience = 5 * time.Second
	defer func() { a.panic = recover() }()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	a.result, a.err = look(ctx)
	return a
}

func (v *topView) hear(a answer) {
	switch {
	case a.panic != nil:
		panic(a.panic)
	case a.err == nil:
		v.take(a.result)
		return
	case v.problem == nil:
		v.since = v.now()
	}
	v.problem = a.err
}

// press applies a key, and reports whether it was one that quits.
func (v *topView) press(key byte) (quit bool) {
	const interrupt, endOfInput = 0x03, 0x04 // ctrl-C and ctrl-D, which send no signal in raw mode
	switch key {
	case 'q', interrupt, endOfInput:
		return true
	}
	for _, o := range topOrders() {
		if o.key == key {
			v.reversed = o.name == v.order.name && !v.reversed
			v.order, v.widths = o, nil
		}
	}
	return false
}

// screen returns the lines that fill a terminal.
func (v *topView) screen(width, height int) []string {
	room := max(height-3, 1) // without the bar, the head of the table and the keys
	var notice []string
	if v.problem != nil {
		notice = []string{fmt.Sprintf("NO ANSWER for %s, trying again: %s",
			since(v.now(), v.since), printable(problemText(v.problem)))}
		room = max(room-1, 1)
	}
	sources := v.sorted()
	shown := sources[:min(len(sources), room, v.rows(room))]
	bar := fmt.Sprintf("paraxial top  %s  %s",
		v.last.Time.In(v.now().Location()).Format("15:04:05"), summary(v.last.Sources, len(shown)))
	lines := append([]string{pad(bar, width)}, notice...)
	if len(shown) > 0 {
		lines = append(lines, v.table(shown, width)...)
	}
	for len(lines) < height-1 {
		lines = append(lines, "")
	}
	lines = append(lines, v.foot())
	lines = lines[:min(len(lines), max(height, 1))]
	for i, line := range lines {
		lines[i] = clip(line, width)
	}
	return lines
}

// foot returns the help for the keys, with the current order in brackets.
func (v *topView) foot() string {
	text := "q quit"
	for _, o := range topOrders() {
		key := string(o.key) + " " + o.name
		switch {
		case o.name == v.order.name && v.reversed:
			key = "[" + string(o.key) + " -" + o.name + "]"
		case o.name == v.order.name:
			key = "[" + key + "]"
		}
		text += "  " + key
	}
	return text
}

// problemText returns a short text for an error.
func problemText(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "paraxiald takes too long"
	}
	return err.Error()
}
