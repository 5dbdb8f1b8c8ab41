package churn

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

const (
	defaultCases  = 1_000_000
	seedVariable  = "PARAXIAL_SEED"
	casesVariable = "PARAXIAL_CASES"
)

func TestMain(m *testing.M) { lab.Main(m) }

func TestIPv4UnderChange(t *testing.T) { underChange(t, ipv4) }

func TestIPv6UnderChange(t *testing.T) { underChange(t, ipv6) }

// underChange looks up listed sources PARAXIAL_CASES times, and unlisted ones equally often, on one
// CPU. On another CPU the daemon adds, removes, renews and grows, is killed and starts again. Not
// one verdict may be wrong. Sources that change are checked too, from the acknowledgement of one
// change to the request of the next. PARAXIAL_SEED repeats the changes, but not their timing.
func underChange(t *testing.T, f family) {
	testenv.Root(t)
	seed := fromEnvironment(t, seedVariable, rand.Uint64())
	cases := fromEnvironment(t, casesVariable, defaultCases)
	t.Logf("%s=%d %s=%d", seedVariable, seed, casesVariable, cases)
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	mine, others := cpus(t)
	h := newHost(t, f)
	w := newWorld(f, seed)
	c, err := newChecker(w, h.pin(), cases, seed)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d := newDriver(h, w, c, cases, seed)
	begin := time.Now()
	race(t, c, d, mine, others)
	if err := h.kill(); err != nil { // it reads the log
		t.Error(err)
	}
	report(t, c, d, time.Since(begin))
}

// cpus returns a CPU for the look-ups, and the other CPUs.
func cpus(t *testing.T) (mine int, others unix.CPUSet) {
	t.Helper()
	if err := unix.SchedGetaffinity(0, &others); err != nil {
		t.Fatal(err)
	}
	if others.Count() < 2 {
		testenv.Missing(t, "needs two CPUs: one looks up while another changes")
	}
	for !others.IsSet(mine) {
		mine++
	}
	others.Clear(mine)
	return mine, others
}

// race runs checker and driver until both have done enough or one of them fails.
func race(t *testing.T, c *checker, d *driver, mine int, others unix.CPUSet) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	stop := func() {
		cancel()
		running.Wait()
	}
	defer stop()
	prepared := make(chan bool)
	running.Go(func() {
		defer cancel()
		if err := d.drive(ctx, others, prepared); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	select {
	case <-ctx.Done():
		return
	case <-prepared:
	}
	err := c.run(ctx, mine)
	if err != nil {
		t.Error(err)
	}
	if wrong := (*wrongError)(nil); errors.As(err, &wrong) {
		why, err := d.client.Why(ctx, wrong.source.String())
		t.Logf("the daemon reports for %s: %+v %v", wrong.source, why, err)
		stop()
		d.explain(t, wrong.source)
	}
}

// report also fails the test if it did not exercise everything it is meant to show.
func report(t *testing.T, c *checker, d *driver, took time.Duration) {
	t.Helper()
	for class, tally := range c.tallies {
		t.Logf("sources %s: %d verdicts right, %d wrong, %d not judged", checkClass(class), tally.Right, tally.Wrong,
			tally.Unsettled)
		if tally.Right == 0 {
			t.Errorf("no source %s was judged", checkClass(class))
		}
	}
	t.Logf("%d more verdicts by the attached program itself", c.attachedAsked)
	t.Logf("%d sources; %d changes, %d imports of up to %d lines, %d entries ended; "+
		"%d kills, %d of them in imports, and %d in starts",
		len(c.sources), d.changes, d.imports, slices.Max(d.sizes), d.lapses,
		d.host.kills, d.killsInImport, d.host.killedStarts)
	t.Logf("%d programs over %d sets of maps; %d indexes built, %d with a new size; %s in total, %s in look-ups",
		c.programs, c.mapSets.Load(), d.host.built, d.host.resized,
		took.Round(time.Millisecond), c.took.Round(time.Millisecond))
	if c.attachedAsked == 0 || !d.enough() {
		t.Error("the run was too short: some events that it must test did not happen")
	}
	for _, complaint := range d.host.complaints {
		t.Errorf("a daemon logged: %s", complaint)
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
