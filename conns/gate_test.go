package conns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// crowd sends requests through a gate, and notes which are let in.
type crowd struct {
	*testing.T
	*Gate
	in chan string
}

// send sends a request, and returns when it waits or has been let in.
func (c *crowd) send(ctx context.Context, uid uint32, name string) <-chan error {
	c.Helper()
	before := c.count()
	failed := make(chan error, 1)
	go func() {
		if err := c.Enter(ctx, uid); err != nil {
			failed <- err
			return
		}
		c.in <- name
	}()
	for deadline := time.Now().Add(soon); c.count() == before; time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			c.Fatalf("%s does not come to the gate", name)
		}
	}
	return failed
}

// count is the number of requests that wait or are worked on.
func (c *crowd) count() (n int) {
	n = c.Waiting()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.running {
		n += r
	}
	return n
}

// let waits until n requests were let in, and returns their names in order.
func (c *crowd) let(n int) (names []string) {
	c.Helper()
	for range n {
		names = append(names, waitFor(c.T, c.in, "a request to be let in"))
	}
	slices.Sort(names) // those let in at the same time come in no order
	return names
}

// However many requests others have sent, root waits for none of them, and a user for
// one of each other user.
func TestGateOrder(t *testing.T) {
	c := &crowd{T: t, Gate: NewGate(2, 3, 2), in: make(chan string, 1000)}
	ctx := t.Context()
	for i := range 128 {
		c.send(ctx, 7, fmt.Sprint("seven ", i))
	}
	if got := c.let(2); !slices.Equal(got, []string{"seven 0", "seven 1"}) {
		t.Errorf("let in: %v, want two of one user", got)
	}
	for i := range 3 {
		c.send(ctx, 8, fmt.Sprint("eight ", i))
	}
	c.send(ctx, 9, "nine")
	c.send(ctx, 0, "root 0")
	c.send(ctx, 0, "root 1")
	c.send(ctx, 0, "root 2")
	if got := c.let(3); !slices.Equal(got, []string{"eight 0", "root 0", "root 1"}) {
		t.Errorf("let in: %v, want the third of others and two of root", got)
	}
	for _, want := range []struct {
		leaves uint32
		next   string
	}{{8, "eight 1"}, {0, "root 2"}, {8, "nine"}, {7, "seven 2"}, {9, "eight 2"}, {7, "seven 3"}} {
		c.Leave(want.leaves)
		if got := c.let(1); got[0] != want.next {
			t.Errorf("after one of uid %d: %s, want %s", want.leaves, got[0], want.next)
		}
	}
	if len(c.in) > 0 {
		t.Errorf("%s was let in, too", <-c.in)
	}
}

// A request whose client goes while it waits leaves the queue, and takes no place.
func TestGateGivesUp(t *testing.T) {
	c := &crowd{T: t, Gate: NewGate(1, 1, 1), in: make(chan string, 10)}
	c.send(t.Context(), 7, "first")
	c.let(1)
	ctx, leave := context.WithCancel(t.Context())
	failed := c.send(ctx, 7, "gone")
	leave()
	if err := waitFor(t, failed, "the request to give up"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	c.send(t.Context(), 7, "second")
	c.Leave(7)
	if got := c.let(1); got[0] != "second" {
		t.Errorf("let in: %v", got)
	}
	c.Leave(7)
	if len(c.lanes) > 0 || len(c.running) > 0 || c.busy > 0 {
		t.Errorf("left over: %v, %v, %d", c.lanes, c.running, c.busy)
	}
}

// soon is longer than anything here takes on a busy machine.
const soon = time.Minute

func waitFor[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(soon):
		t.Fatalf("waited in vain for %s", what)
		panic("not reached")
	}
}
