// Package soak runs a daemon under load for a long time: changes, imports, expiry, flapping
// interfaces, reloads and kills, under traffic. At the end nothing has leaked, and disk, tries,
// index and the daemon's listing agree.
package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

const (
	seedVariable   = "PARAXIAL_SEED"
	periodVariable = "PARAXIAL_SOAK_SECONDS"
	defaultPeriod  = 10

	blockedSource = "203.0.113.200"
	cleanSource   = "198.51.100.200"
)

func TestMain(m *testing.M) { lab.Main(m) }

// TestSoak runs for PARAXIAL_SOAK_SECONDS: half of the time with kills, and half with one daemon,
// which is measured at the beginning and the end. PARAXIAL_SEED repeats the actions, but not their
// timing.
func TestSoak(t *testing.T) {
	testenv.Root(t)
	seed := fromEnvironment(t, seedVariable, rand.Uint64())
	period := time.Duration(fromEnvironment(t, periodVariable, defaultPeriod)) * time.Second
	t.Logf("%s=%d %s=%.0f", seedVariable, seed, periodVariable, period.Seconds())
	h := newHost(t)
	d := &driver{Rand: rand.New(rand.NewPCG(seed, 0)), host: h, done: map[string]int{},
		probed: map[policy.Outcome]int{}}
	if err := d.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	end := h.wire.Stream(h.frame(netip.MustParseAddr(blockedSource)), h.frame(netip.MustParseAddr(cleanSource)))
	err := d.live(t.Context(), t, period)
	sent, sendErr := end()
	if err != nil {
		if h.run != nil {
			t.Logf("log of the daemon:\n%s", h.run.Log())
		}
		t.Fatal(err)
	}
	if sendErr != nil {
		t.Error(sendErr)
	}
	d.judge(t, sent)
	d.report(t)
}

// live churns, measures and compares.
func (d *driver) live(ctx context.Context, t *testing.T, period time.Duration) error {
	begin, seen := time.Now(), newObjects()
	d.mayKill = true
	if err := d.churn(ctx, begin.Add(period/2)); err != nil {
		return err
	}
	// Each action at least once, independent of chance.
	for _, f := range []func(*driver, context.Context) error{(*driver).die, (*driver).rest, (*driver).flap,
		(*driver).change} {
		if err := f(d, ctx); err != nil {
			return err
		}
	}
	// The first measurement of this daemon: objects made at first use exist by now.
	d.mayKill = false
	if err := d.churn(ctx, time.Now().Add(period/8)); err != nil {
		return err
	}
	before, err := d.quiet(ctx, seen)
	if err != nil {
		return err
	}
	t.Logf("footprint at the start: %+v", before)
	if err := d.churn(ctx, begin.Add(period)); err != nil {
		return err
	}
	after, err := d.quiet(ctx, seen)
	if err != nil {
		return err
	}
	err = within(settled, func() error {
		if err := before.grown(after); err == nil {
			return nil
		}
		after, err = d.measure(seen)
		return before.grown(after)
	})
	t.Logf("footprint of the same daemon at the end: %+v", after)
	if err != nil {
		return err
	}
	return d.farewell(ctx, seen)
}

// quiet removes the entries that churn has added, and measures.
func (d *driver) quiet(ctx context.Context, seen objects) (footprint, error) {
	if err := d.settle(ctx); err != nil {
		return footprint{}, err
	}
	time.Sleep(time.Second)
	return d.measure(seen)
}

// farewell compares for the last time, and checks that nothing is left in the kernel after the
// filter was detached.
func (d *driver) farewell(ctx context.Context, seen objects) error {
	listed, err := d.list(ctx)
	if err != nil {
		return err
	}
	if want := permanents + 1 + largeList; len(listed) != want {
		return fmt.Errorf("%d entries are listed, want %d", len(listed), want)
	}
	if err := d.stop(ctx); err != nil {
		return err
	}
	if err := d.compare(listed); err != nil {
		return err
	}
	ours, _, err := d.objects()
	if err != nil {
		return err
	}
	seen.add(ours)
	d.passed = d.server.Sources()
	if err := d.detach(); err != nil {
		return err
	}
	return seen.left()
}

// judge checks the packets that got through.
func (d *driver) judge(t *testing.T, sent int) {
	t.Helper()
	if n := d.passed[netip.MustParseAddr(blockedSource)]; n > 0 {
		t.Errorf("%d of %d packets of the blocked source got through", n, sent)
	}
	n := d.passed[netip.MustParseAddr(cleanSource)]
	if n == 0 {
		t.Error("no packet of the clean source arrived, so this test has checked nothing")
	}
	t.Logf("%d packets of the blocked source dropped; %d of %d of the clean one arrived", sent, n, sent)
}

// report also fails the test if it did not exercise everything it is meant to show.
func (d *driver) report(t *testing.T) {
	t.Helper()
	var did []string
	for _, a := range actions() {
		did = append(did, fmt.Sprintf("%d × %s", d.done[a.name], a.name))
	}
	t.Logf("%d starts; %s", d.restarts, strings.Join(did, ", "))
	t.Logf("%d comparisons of disk, list and tries; the program in force agreed with the model on %v", d.compared,
		d.probed)
	if d.done["block"] == 0 || d.probed[policy.Blocked] == 0 || d.probed[policy.NotListed] == 0 {
		t.Error("the run was too short: some events that it must test did not happen")
	}
	for _, line := range slices.Compact(d.errors) {
		t.Errorf("a daemon logged: %s", line)
	}
}

func fromEnvironment(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
