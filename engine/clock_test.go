package engine

import (
	"maps"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

// The wall clock jumps while the daemon runs: nothing expires earlier or later, the
// times shown follow the clock, and after the next boot entries have the time that
// was left.
func TestWallClockJumps(t *testing.T) {
	b := newBench(t, 100)
	real := time.Now()
	if err := b.block("203.0.113.1"); err != nil {
		t.Fatal(err)
	}
	const ttl = 10 * time.Minute
	e := entry("198.51.100.0/24")
	e.Deadline = b.Now() + policy.Deadline(ttl)
	if err := b.apply(policy.PutOp(e)); err != nil {
		t.Fatal(err)
	}
	before := maps.Clone(b.kernel.nodes)
	const decade = 10 * 365 * 24 * time.Hour
	for _, jump := range []time.Duration{0, decade, -decade, time.Hour, -time.Hour} {
		b.wallTime = func() time.Time { return time.Now().Add(jump) }
		expired, err := b.Expire(t.Context())
		if err != nil || len(expired) > 0 {
			t.Fatalf("after a jump of %s %d entries expired: %v", jump, len(expired), err)
		}
		if _, err := b.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(before, b.kernel.nodes) {
			t.Fatalf("after a jump of %s the kernel has %v, want %v", jump, b.kernel.nodes, before)
		}
		passed := time.Since(real)
		if left := b.Wall(e.Deadline).Sub(real.Add(jump)); left < ttl-time.Second || left > ttl+passed+time.Second {
			t.Errorf("after a jump of %s it is shown to expire in %s, want %s", jump, left, ttl)
		}
	}
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	const boot = policy.Deadline(time.Minute)
	next, err := store.Open(b.path, store.Reading{BootID: "the next boot", Boot: boot, Wall: real.Add(2 * time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	found := 0
	if _, err := next.Load(func(e policy.Entry) error {
		found++
		if left := time.Duration(e.Deadline - boot); e.Deadline != policy.Forever &&
			(left < ttl-time.Minute || left > ttl) {
			t.Errorf("%s has %s left in the next boot, want %s", e.Prefix, left, ttl)
		}
		return nil
	}); err != nil || found != 2 {
		t.Errorf("%d entries in the next boot: %v", found, err)
	}
}
