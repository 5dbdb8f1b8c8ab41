package guard

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/paraxial/paraxial/policy"
)

// Requests that wait at the same time share a reading. No request gets a reading that
// began before it.
func TestFactsAreShared(t *testing.T) {
	begun, finish := make(chan int), make(chan struct{})
	readings := 0
	r := &Reader{log: slog.New(slog.DiscardHandler), read: func(context.Context) ([]policy.Protected, error) {
		readings++
		n := readings
		begun <- n
		<-finish
		return []policy.Protected{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 32)}}, nil
	}}
	const late = 5
	got := make(chan string, late+1)
	ask := func() {
		waited := r.join()
		go func() {
			<-waited.done
			got <- waited.list[0].Prefix.Addr().String()
		}()
	}
	ask()
	<-begun
	for range late { // these come while the first reading is under way
		ask()
	}
	finish <- struct{}{}
	if a := <-got; a != "192.0.2.1" {
		t.Errorf("the first request got the reading %s", a)
	}
	if n := <-begun; n != 2 {
		t.Fatalf("reading %d began, want the second", n)
	}
	finish <- struct{}{}
	for range late {
		if a := <-got; a != "192.0.2.2" {
			t.Errorf("a later request got the reading %s, want the second", a)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if readings != 2 {
		t.Errorf("%d readings for %d requests, want 2", readings, late+1)
	}
}

// A caller that gives up does not wait for the reading.
func TestFactsGivenUp(t *testing.T) {
	finish := make(chan struct{})
	defer close(finish)
	r := &Reader{log: slog.New(slog.DiscardHandler), read: func(context.Context) ([]policy.Protected, error) {
		<-finish
		return nil, nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	guard, err := r.Guard(ctx)
	if !errors.Is(err, context.Canceled) || guard == nil {
		t.Errorf("guard %v, error %v", guard, err)
	}
}

// The error of the last reading of the guard's facts is kept until a reading succeeds.
func TestFactsKeepTheirProblem(t *testing.T) {
	err := errors.New("one\ntwo")
	r := &Reader{
		read: func(context.Context) ([]policy.Protected, error) { return nil, err },
		log:  slog.New(slog.DiscardHandler),
	}
	r.Guard(t.Context())
	if got := r.Problem(); got != "one; two" {
		t.Errorf("the problem is %q", got)
	}
	err = nil
	r.Guard(t.Context())
	if got := r.Problem(); got != "" {
		t.Errorf("the problem is still %q", got)
	}
}
