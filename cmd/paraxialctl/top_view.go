package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/paraxial/paraxial/control"
)

// shareMemory is how many refreshes the trend of a source goes back.
const shareMemory = 8

// topView is what top shows, and how.
type topView struct {
	now      func() time.Time
	interval time.Duration
	limit    int // of sources; 0 for none
	order    topOrder
	reversed bool
	sparks   bool // trends are drawn, not told

	last    control.TopResult
	shares  map[string][]float64 // of every source, the latest last
	widths  map[string]int       // of columns on the screen, which only grow until a key is pressed
	problem error                // why last is not of now
	since   time.Time            // of problem
}

// take makes r what is shown.
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

// rows returns how many sources to show where there is room for some.
func (v *topView) rows(room int) int {
	if v.limit > 0 {
		return v.limit
	}
	return room
}

// result is what scripts get: all sources unless there is a limit.
func (v *topView) result() control.TopResult {
	r := v.last
	r.Sources = v.sorted()
	r.Sources = r.Sources[:min(len(r.Sources), v.rows(len(r.Sources)))]
	return r
}

// answer is what a look at the daemon gave.
type answer struct {
	result control.TopResult
	err    error
	panic  any
}

// run shows what look returns until a key or ctx ends it. A daemon that does not
// answer does not.
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
			return nil // how it is meant to end
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

// lookOnce returns a panic as well, to be raised where the terminal is restored.
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

// press does what a key asks for, and tells whether that is to end.
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
	room := max(height-3, 1) // besides the bar, the head of the table and the keys
	var notice []string
	if v.problem != nil {
		notice = []string{fmt.Sprintf("NO ANSWER for %s, trying again: %s", since(v.now(), v.since), printable(problemText(v.problem)))}
		room = max(room-1, 1)
	}
	sources := v.sorted()
	shown := sources[:min(len(sources), room, v.rows(room))]
	bar := fmt.Sprintf("paraxial top  %s  %s", v.last.Time.In(v.now().Location()).Format("15:04:05"), summary(v.last.Sources, len(shown)))
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

// foot tells the keys, and which of them was the last.
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

// problemText is an error on a line where there is little room.
func problemText(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "paraxiald takes too long"
	}
	return err.Error()
}
