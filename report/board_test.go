package report

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// ask gives a command in the background.
func ask(ctx context.Context, b *Board, c Command) <-chan string {
	done := make(chan string, 1)
	go func() {
		a, err := b.Do(ctx, c)
		if err != nil {
			done <- code(err)
			return
		}
		done <- a.Text + "|" + a.Error
	}()
	return done
}

func TestCommands(t *testing.T) {
	socket, board := serve(t, &fake{may: "a"}, Options{})
	c, ctx := NewClient(socket), t.Context()
	if _, err := board.Do(ctx, Command{Verb: Refresh, Name: "a"}); code(err) != CodeNotFound {
		t.Errorf("a command for a feed of no reporter: %v", err)
	}
	if err := c.Report(ctx, []State{{Name: "a"}}); err != nil {
		t.Fatal(err)
	}
	done := ask(ctx, board, Command{Verb: Rollback, Name: "a", Generation: 3})
	got, ok, err := c.Command(ctx)
	if err != nil || !ok || got.Verb != Rollback || got.Name != "a" || got.Generation != 3 {
		t.Fatalf("command %+v, %t, %v", got, ok, err)
	}
	if err := c.Answer(ctx, "other", Answer{}); code(err) != CodeNotFound {
		t.Errorf("an answer to no command: %v", err)
	}
	if err := c.Answer(ctx, got.ID, Answer{Text: "+1\n\x1b[2J", Error: "bad"}); err != nil {
		t.Fatal(err)
	}
	if answer := waitFor(t, done, "the answer"); answer != "+1\n?[2J|bad" {
		t.Errorf("answer %q", answer)
	}
	if err := c.Answer(ctx, got.ID, Answer{}); code(err) != CodeNotFound {
		t.Errorf("a second answer: %v", err)
	}
	// A command that comes while the reporter waits.
	type taken struct {
		Command
		ok bool
	}
	next := make(chan taken, 1)
	go func() {
		c, ok, _ := c.Command(ctx)
		next <- taken{c, ok}
	}()
	for present := false; !present; time.Sleep(time.Millisecond) {
		board.mu.Lock()
		present = board.of("r").asking > 0
		board.mu.Unlock()
	}
	ask(ctx, board, Command{Verb: Pause, Name: "a"})
	if got := waitFor(t, next, "a command"); !got.ok || got.Verb != Pause {
		t.Errorf("command %+v", got)
	}
}

// The queue is bounded, and a command that nobody waits for leaves it.
func TestQueue(t *testing.T) {
	var b Board
	b.tell("r", []State{{Name: "a"}})
	ctx, leave := context.WithCancel(t.Context())
	var waiting []<-chan string
	for n := range maxQueue {
		waiting = append(waiting, ask(ctx, &b, Command{Verb: Refresh, Name: "a"}))
		for queued := 0; queued <= n; time.Sleep(time.Millisecond) {
			b.mu.Lock()
			queued = len(b.of("r").waiting)
			b.mu.Unlock()
		}
	}
	for n := range 5 { // those that were given count, too
		if _, ok := b.next(t.Context(), "r"); !ok {
			t.Fatalf("there is no command %d", n)
		}
	}
	if _, err := b.Do(t.Context(), Command{Verb: Refresh, Name: "a"}); code(err) != CodeBusy {
		t.Errorf("one command too many: %v", err)
	}
	leave()
	for _, w := range waiting {
		if got := waitFor(t, w, "a command to be given up"); got != CodeBusy {
			t.Errorf("given up with %s", got)
		}
	}
	if r := b.of("r"); len(r.waiting)+len(r.given) > 0 {
		t.Errorf("left over: %v, %v", r.waiting, r.given)
	}
}

// Of several requests for a command only the last waits.
func TestLastRequestWaits(t *testing.T) {
	var b Board
	b.tell("r", []State{{Name: "a"}})
	first, ended := make(chan bool, 1), make(chan struct{})
	go func() {
		_, ok := b.next(t.Context(), "r")
		first <- ok
		close(ended)
	}()
	// Whether the first request waits yet cannot be seen, so others come until it has ended.
	for over := false; !over; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		b.next(ctx, "r")
		cancel()
		select {
		case <-ended:
			over = true
		default:
		}
	}
	if <-first {
		t.Error("the first request has a command")
	}
	ask(t.Context(), &b, Command{Verb: Refresh, Name: "a"})
	if _, ok := b.next(t.Context(), "r"); !ok {
		t.Error("the last request has no command")
	}
}

// The states and answers of reporters are bounded.
func TestStatesAreBounded(t *testing.T) {
	long := State{Name: "a", Format: strings.Repeat("f", 1000)}
	for n := range 100 {
		long.Notes, long.Kept = append(long.Notes, fmt.Sprint(n)), append(long.Kept, Kept{Generation: uint64(n)})
	}
	got := plain(long)
	if len(got.Format) > maxText+len("…") || len(got.Notes) != maxNotes || len(got.Kept) != maxKept ||
		got.Kept[maxKept-1].Generation != 99 {
		t.Errorf("state %+v", got)
	}
	socket, _ := serve(t, &fake{may: "a"}, Options{})
	if err := NewClient(socket).Report(t.Context(), make([]State, MaxStates+1)); code(err) != CodeTooLarge {
		t.Errorf("too many states: %v", err)
	}
	long.Error = strings.Repeat("x", MaxBody)
	if err := NewClient(socket).Report(t.Context(), []State{long}); code(err) != CodeTooLarge {
		t.Errorf("a long body: %v", err)
	}
}

// A reporter is there while it asks, and for a while after.
func TestPresent(t *testing.T) {
	var b Board
	if present, seen := b.Present("r"); present || !seen.IsZero() {
		t.Errorf("a reporter that was never there: %t, %s", present, seen)
	}
	end := b.begin("r")
	b.of("r").seen = time.Now().Add(-2 * GoneAfter)
	if present, _ := b.Present("r"); !present {
		t.Error("a reporter is gone while it asks")
	}
	end()
	if present, _ := b.Present("r"); !present {
		t.Error("a reporter is gone as soon as it has its answer")
	}
	b.of("r").seen = time.Now().Add(-2 * GoneAfter)
	if present, _ := b.Present("r"); present {
		t.Error("a silent reporter is there")
	}
}
