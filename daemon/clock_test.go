package daemon

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

// The wall clock jumps about while the daemon runs: nothing expires earlier or
// later, what is shown follows, and the next boot goes on with what was left.
func TestWallClockJumps(t *testing.T) {
	b := newBench(t, 100)
	b.verdicts = &verdicts{d: b.Daemon}
	real := time.Now()
	if err := b.block("203.0.113.1"); err != nil {
		t.Fatal(err)
	}
	const ttl = 10 * time.Minute
	e := policy.Entry{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Kind: policy.Block, Action: policy.Drop, Origin: "cli", Deadline: b.engine.clock.now() + policy.Deadline(ttl)}
	if err := b.engine.apply(t.Context(), []policy.Op{policy.PutOp(e)}); err != nil {
		t.Fatal(err)
	}
	before := maps.Clone(b.kernel.nodes)
	for _, jump := range []time.Duration{0, 10 * 365 * 24 * time.Hour, -10 * 365 * 24 * time.Hour, time.Hour, -time.Hour} {
		b.engine.clock.wallTime = func() time.Time { return time.Now().Add(jump) }
		b.sweep(t.Context())
		b.checkpoint(t.Context())
		if !maps.Equal(before, b.kernel.nodes) {
			t.Fatalf("after a jump of %s the kernel has %v, want %v", jump, b.kernel.nodes, before)
		}
		wire := b.wireEntries([]policy.Entry{e})[0]
		passed := time.Since(real)
		if left := wire.Expires.Sub(real.Add(jump)); left < ttl-time.Second || left > ttl+passed+time.Second {
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
		if left := time.Duration(e.Deadline - boot); e.Deadline != policy.Forever && (left < ttl-time.Minute || left > ttl) {
			t.Errorf("%s has %s left in the next boot, want %s", e.Prefix, left, ttl)
		}
		return nil
	}); err != nil || found != 2 {
		t.Errorf("%d entries in the next boot: %v", found, err)
	}
}
