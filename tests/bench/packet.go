package main

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/lab/frame"
)

// A packetRow is the cost of a packet, in nanoseconds, for one list and one kind of traffic.
type packetRow struct {
	Mix     mix     `json:"mix"`
	Entries int     `json:"entries"`
	TTL     bool    `json:"ttl"` // entries expire, so the program has to read the clock
	Traffic string  `json:"traffic"`
	Pass    float64 `json:"empty_pass_ns"`
	Drop    float64 `json:"empty_drop_ns"`
	Floor   float64 `json:"floor_ns"`
	Index   float64 `json:"index_ns"`
	LPM     float64 `json:"lpm_ns"`
}

// The kinds of traffic.
const (
	clean   = "clean"
	blocked = "blocked"
)

// A packetCase is a list and the traffic to measure against it.
type packetCase struct {
	mix mix
	n   int
	ttl bool
}

func packetCases(quick bool) []packetCase {
	mixes := []mix{mixIPv4, mixUniform, mixClustered}
	sizes := []int{1_000, 10_000, 100_000, 1_000_000}
	if quick {
		mixes, sizes = []mix{mixIPv4, mixUniform}, []int{1_000, 100_000}
	}
	var cases []packetCase
	for _, m := range mixes {
		for _, n := range sizes {
			cases = append(cases, packetCase{mix: m, n: n})
		}
	}
	return append(cases, packetCase{mix: mixIPv4, n: sizes[len(sizes)-1], ttl: true})
}

// measurePackets runs programs over frames in memory, on one CPU.
func measurePackets(ctx context.Context, quick bool, log logger) ([]latencyRow, []packetRow, error) {
	unpin, err := pin(0)
	if err != nil {
		return nil, nil, err
	}
	defer unpin()
	memory := measureLatency()
	repeats := 12
	if quick {
		repeats = 3
	}
	var rows []packetRow
	for _, c := range packetCases(quick) {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		log("packets: %s, %d entries", c.mix, c.n)
		more, err := c.measure(repeats)
		if err != nil {
			return nil, nil, fmt.Errorf("measure %s with %d entries: %w", c.mix, c.n, err)
		}
		rows = append(rows, more...)
	}
	return memory, rows, nil
}

// pin binds the calling goroutine to one CPU, so that the sender and the receiver of frames do not
// share one.
func pin(cpu int) (unpin func(), err error) {
	runtime.LockOSThread()
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("read the CPUs of a thread: %w", err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("stay on CPU %d: %w", cpu, err)
	}
	return func() {
		// A thread that could not be unbound stays locked, and ends with its goroutine.
		if unix.SchedSetaffinity(0, &old) == nil {
			runtime.UnlockOSThread()
		}
	}, nil
}

func (c packetCase) measure(repeats int) ([]packetRow, error) {
	l := newList(c.mix, c.n)
	deadline := policy.Forever
	if c.ttl {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
			return nil, fmt.Errorf("read the boot clock: %w", err)
		}
		deadline = policy.After(policy.Deadline(now.Nano()), 24*time.Hour)
	}
	t, err := newTables(l.prefixes, deadline, tuning{floor: floorReasonREASON_NOT_LISTED})
	if err != nil {
		return nil, err
	}
	defer t.Close()
	var rows []packetRow
	for _, traffic := range []string{clean, blocked} {
		addrs, reason := l.clean(), shippedReasonREASON_NOT_LISTED
		if traffic == blocked {
			addrs, reason = l.blocked(), shippedReasonREASON_BLOCKED
		}
		if err := t.setSources(addrs); err != nil {
			return nil, err
		}
		row := packetRow{Mix: c.mix, Entries: c.n, TTL: c.ttl, Traffic: traffic}
		if err := t.measure(&row, template(addrs[0]), reason, repeats); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func template(src netip.Addr) []byte {
	dst := netip.MustParseAddr("192.0.2.1")
	if src.Is6() {
		dst = netip.MustParseAddr("2001:db8::1")
	}
	return frame.IP(src, dst).UDP(40000, 9, make([]byte, 8))
}

// rowBudget bounds the time that a row of the table takes.
const rowBudget = 10 * time.Second

// A stopwatch holds the best time per packet, the mean over the whole traffic. All the traffic runs
// without a break: the kernel sleeps while it prepares a run, long enough for other work on the
// machine to evict the cache, which would not happen in a continuous stream of packets.
type stopwatch time.Duration

func (s *stopwatch) run(p *ebpf.Program, frame []byte) error {
	_, took, err := p.Benchmark(frame, sources, nil)
	if err != nil {
		return fmt.Errorf("run %s: %w", p, err)
	}
	if *s == 0 || took < time.Duration(*s) {
		*s = stopwatch(took)
	}
	return nil
}

// ns returns nanoseconds per packet. The kernel reports whole ones.
func (s stopwatch) ns() float64 { return float64(time.Duration(s).Nanoseconds()) }

// measure runs the programs in turns, so that disturbances affect all of them alike.
func (t *tables) measure(row *packetRow, frame []byte, reason shippedReason, repeats int) error {
	runs := []struct {
		ns      *float64
		program *ebpf.Program
		best    stopwatch
	}{
		{ns: &row.Pass, program: t.index.Programs[shippedProgEmptyPass]},
		{ns: &row.Drop, program: t.index.Programs[shippedProgEmptyDrop]},
		{ns: &row.Floor, program: t.floor.Programs[floorProgVaried]},
		{ns: &row.Index, program: t.index.Programs[shippedProgVaried]},
		{ns: &row.LPM, program: t.lpm.Programs[shippedProgVaried]},
	}
	begin := time.Now()
	for round := range repeats {
		// On a busy machine, fewer rounds must do.
		if round >= 2 && time.Since(begin) > rowBudget {
			break
		}
		for i := range runs {
			if err := runs[i].best.run(runs[i].program, frame); err != nil {
				return err
			}
		}
	}
	for i := range runs {
		*runs[i].ns = runs[i].best.ns()
	}
	for _, c := range []*ebpf.Collection{t.index, t.lpm} {
		if err := onlyReason(c.Maps[shippedMapCounters], reason); err != nil {
			return err
		}
	}
	return nil
}

// onlyReason checks that every packet got the expected verdict, and resets the counters: a filter
// that is fast because it is wrong must not pass.
func onlyReason(counters *ebpf.Map, want shippedReason) error {
	for key := range uint32(shippedReasonREASON_COUNT) {
		var perCPU []shippedCounter
		if err := counters.Lookup(key, &perCPU); err != nil {
			return fmt.Errorf("read the counters: %w", err)
		}
		var packets uint64
		for _, c := range perCPU {
			packets += c.Packets
		}
		if ok := packets > 0; ok != (key == uint32(want)) {
			return fmt.Errorf("%d packets counted under reason %d, want all under %d", packets, key, want)
		}
		if err := counters.Put(key, make([]shippedCounter, len(perCPU))); err != nil {
			return fmt.Errorf("reset the counters: %w", err)
		}
	}
	return nil
}
