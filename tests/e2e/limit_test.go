package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
)

// slowest lets one datagram of a hundred bytes through, and then none for a minute and a half.
const slowest = "8bit/s"

// The whole prefix shares one bucket, and only a change of the entry itself refills it.
func TestLimit(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	h.ctl(0, "block", "203.0.113.0/24", "--limit", slowest)
	h.ctl(0, "block", "203.0.113.9", "--limit", "1000/s")
	passes := func(src string, want bool, when string) {
		t.Helper()
		if h.dropped(s, src) == want {
			t.Errorf("%s: %s passes %t, want %t", when, src, !want, want)
		}
	}
	why := func(src, verdict, reason string) control.WhyResult {
		t.Helper()
		r := ctlJSON[control.WhyResult](h, "why", src)
		if r.Verdict != verdict || r.Reason != reason || r.CheckedBy != "kernel" || r.Disagreement != "" {
			t.Errorf("why %s: %+v, want %s, %s", src, r, verdict, reason)
		}
		return r
	}
	why("203.0.113.1", "limit", "under_limit")
	passes("203.0.113.1", true, "at first")
	passes("203.0.113.2", false, "after one of the prefix")
	passes("203.0.113.9", false, "inside a stricter limit")
	if e := why("203.0.113.3", "limit", "limited").Matched[0]; e.Action != "limit" || e.Rate != slowest ||
		e.Drops != 2 {
		t.Errorf("the entry that dropped two packets: %+v", e)
	}
	reasons := ctlJSON[control.Stats](h, "stats").Interfaces[0].Reasons
	if reasons["limited"].Packets != 2 || reasons["under_limit"].Packets != 1 {
		t.Errorf("counted: %+v, want 2 limited and 1 under_limit", reasons)
	}
	for _, change := range []struct {
		name string
		do   func()
	}{
		{"a restart", func() { h.kill(); h.start() }},
		{"an import", func() {
			h.ctl(0, "import", writeFile(t, "203.0.112.0/23\n198.51.100.0/24\n"), "--origin", "list")
			h.ctl(0, "import", writeFile(t, "198.51.100.0/24\n"), "--origin", "list")
		}},
		{"a limit beside it", func() { h.ctl(0, "block", "203.0.113.4", "--limit", slowest) }},
		{"the same limit again", func() {
			h.ctl(0, "block", "203.0.113.0/24", "--limit", slowest, "--for", "1h", "--reason",
				"new")
		}},
	} {
		change.do()
		passes("203.0.113.1", false, "after "+change.name)
	}
	why("203.0.113.1", "limit", "limited")
	h.ctl(0, "allow", "203.0.113.5")
	passes("203.0.113.5", true, "allowed")
	h.ctl(0, "block", "203.0.113.0/24", "--limit", "16bit/s", "--replace")
	passes("203.0.113.1", true, "with another rate")
	passes("203.0.113.1", false, "with another rate, the second")
	h.ctl(0, "unblock", "203.0.113.0/24")
	passes("203.0.113.1", true, "unblocked")
	h.ctl(1, "block", h.wire.Addr4().String(), "--limit", "1000/s")
}

// Import does not turn a limit that export has printed into a block.
func TestLimitExport(t *testing.T) {
	h := newHost(t)
	h.start()
	h.ctl(0, "block", "203.0.113.0/24", "--limit", "1MB/s")
	h.ctl(0, "block", "203.0.114.0/24")
	out := h.ctl(0, "export").Stdout
	if want := "# limit 8Mbit/s: 203.0.113.0/24\tcli\n203.0.114.0/24\tcli\n"; out != want {
		t.Errorf("export: %q, want %q", out, want)
	}
	if r := ctlJSON[control.ImportResult](h, "import", writeFile(t, out), "--origin", "back"); r.Added != 1 {
		t.Errorf("import of what export printed: %+v", r)
	}
	if got := h.ctl(0, "list").Stdout; !strings.Contains(got, "limit:8Mbit/s") {
		t.Errorf("list does not show the rate:\n%s", got)
	}
}

func TestPromote(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	h.ctl(0, "block", "203.0.113.0/24", "--shadow", "--reason", "trial", "--for", "1h")
	h.ctl(0, "block", "203.0.114.1")
	own := h.wire.Addr4().String()
	h.ctl(0, "block", own, "--shadow")
	if _, err := h.client().Block(t.Context(), control.BlockRequest{Prefixes: []string{"203.0.115.1"}, Action: "shadow",
		Origin: "list"}); err != nil {
		t.Fatal(err)
	}
	for args, says := range map[string]string{
		"203.0.112.0/24":               "has no block of 203.0.112.0/24",
		"203.0.113.0/24 203.0.114.1":   "is not a shadow entry, its action is drop",
		"203.0.115.1":                  "a shadow entry is there from origin list",
		"203.0.113.0/24 --origin list": "a shadow entry is there from origin cli",
		"203.0.113.0/24 " + own:        "--force",
	} {
		if r := h.ctl(1, append([]string{"promote"}, strings.Fields(args)...)...); !strings.Contains(r.Stderr, says) {
			t.Errorf("promote %s: %q, want %q", args, r.Stderr, says)
		}
	}
	if h.dropped(s, "203.0.113.1") {
		t.Fatal("a failed promotion changed the entry")
	}
	h.ctl(0, "promote", "203.0.113.0/24")
	h.ctl(0, "promote", "203.0.115.1", "--origin", "list")
	for _, src := range []string{"203.0.113.1", "203.0.115.1"} {
		if !h.dropped(s, src) {
			t.Errorf("%s passes although it was armed", src)
		}
	}
	e := ctlJSON[control.WhyResult](h, "why", "203.0.113.1").Matched[0]
	if e.Action != "drop" || e.Reason != "trial" || e.Expires == nil || e.Drops != 2 {
		t.Errorf("the entry that was armed: %+v", e)
	}
	h.ctl(0, "promote", own, "--force")
	h.kill()
	h.start()
	if !h.dropped(s, "203.0.113.1") {
		t.Error("not armed any more after a restart")
	}
}

// limitSeconds returns how long a flood against a limit lasts. The documented figures need 10 s.
// PARAXIAL_LIMIT_SECONDS sets it.
func limitSeconds(t *testing.T) time.Duration {
	t.Helper()
	s := os.Getenv("PARAXIAL_LIMIT_SECONDS")
	if s == "" {
		return 3 * time.Second
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("PARAXIAL_LIMIT_SECONDS=%s: want a number of seconds", s)
	}
	return time.Duration(n) * time.Second
}

// A source that sends many times its rate, on two CPUs at once, gets its rate within a twentieth,
// plus the burst of one second's worth that passes at once. The time is the kernel's, from the
// first packet that passed to the last.
func TestLimitHoldsItsRate(t *testing.T) {
	const offered = 50_000 // packets a second, if the machine can send them
	for _, tc := range []struct {
		limit  string
		packet int // bytes
		want   int // packets a second
	}{
		{"1000/s", 100, 1000},
		{"2Mbit/s", 250, 1000},
	} {
		t.Run(tc.limit, func(t *testing.T) {
			if runtime.NumCPU() < 2 {
				t.Fatal("needs two CPUs")
			}
			h := newHostOf(t, 2)
			h.start()
			s := h.serve()
			s.Keep()
			h.ctl(0, "block", "203.0.113.7", "--limit", tc.limit)
			sent, took := h.flood(netip.MustParseAddr("203.0.113.7"), tc.packet, offered, limitSeconds(t))
			passed := h.expectCounted(s, sent)
			filling := bucketTime(s.Kept())
			rate := float64(passed-tc.want) / filling.Seconds()
			t.Logf("%d sent in %s, %.0f a second; %d arrived, beyond the burst %.1f a second in %s: %.4f of the limit",
				sent, took, float64(sent)/took.Seconds(), passed, rate, filling, rate/float64(tc.want))
			if rate < 0.95*float64(tc.want) || rate > 1.05*float64(tc.want) {
				t.Errorf("%.1f packets a second passed, want %d", rate, tc.want)
			}
			if sent < 4*passed {
				t.Errorf("%d packets were sent and %d passed: that is not a flood, so this test has checked nothing",
					sent, passed)
			}
		})
	}
}

// bucketTime returns the time in which the bucket of a limit was refilled: from the first packet
// that passed to the last. In a gap of more than a second, when the senders had no CPU, the bucket
// is full after one second.
func bucketTime(passed []lab.Datagram) (filling time.Duration) {
	slices.SortFunc(passed, func(a, b lab.Datagram) int { return a.At.Compare(b.At) })
	for i := 1; i < len(passed); i++ {
		filling += min(passed[i].At.Sub(passed[i-1].At), time.Second)
	}
	return filling
}

// flood sends packets of one source from two CPUs, and returns their number and the time.
func (h *host) flood(src netip.Addr, size, perSecond int, d time.Duration) (sent int, took time.Duration) {
	h.Helper()
	var senders sync.WaitGroup
	var counts [2]int
	begin := time.Now()
	for cpu := range counts {
		senders.Go(func() {
			runtime.LockOSThread() // ends with its goroutine
			var set unix.CPUSet
			set.Set(cpu)
			if err := unix.SchedSetaffinity(0, &set); err != nil {
				h.Error(err)
				return
			}
			frames := h.flows(src, size, cpu)
			for elapsed := time.Duration(0); elapsed < d; elapsed = time.Since(begin) {
				due := int(elapsed.Seconds() * float64(perSecond) / float64(len(counts)))
				for ; counts[cpu] < due; counts[cpu]++ {
					if err := h.wire.Send(frames[counts[cpu]%len(frames)]); err != nil {
						h.Error(err)
						return
					}
				}
				time.Sleep(200 * time.Microsecond)
			}
		})
	}
	senders.Wait()
	return counts[0] + counts[1], time.Since(begin)
}

// flows returns packets of many flows, so that they reach all queues.
func (h *host) flows(src netip.Addr, size, cpu int) (frames [][]byte) {
	for i := range 64 {
		empty := h.wire.From(src).UDP(1, 1, nil)
		frames = append(frames, h.wire.From(src).UDP(uint16(20_000+100*cpu+i), serverPort,
			make([]byte, size-len(empty))))
	}
	return frames
}

// expectCounted waits until every packet was counted as limited or under_limit, checks that no
// other number of packets arrived, and that both CPUs dropped some of them. It returns the number
// that passed.
func (h *host) expectCounted(s *lab.Server, sent int) (passed int) {
	h.Helper()
	var over int
	h.within("every sent packet is counted", patience, func() bool {
		reasons := ctlJSON[control.Stats](h, "stats").Interfaces[0].Reasons
		over, passed = int(reasons["limited"].Packets), int(reasons["under_limit"].Packets)
		return over+passed >= sent
	})
	source := netip.MustParseAddr("203.0.113.7")
	h.within("every passed packet arrives", patience, func() bool { return s.Sources()[source] >= passed })
	if arrived := s.Sources()[source]; over+passed != sent || arrived != passed {
		h.Errorf("%d limited and %d under_limit counted, of %d sent and %d arrived", over, passed, sent, arrived)
	}
	if e := ctlJSON[control.WhyResult](h, "why", "203.0.113.7").Matched[0]; int(e.Drops) != over || e.DropsEstimated {
		h.Errorf("%d drops of the entry, %d limited", e.Drops, over)
	}
	busy := 0
	for cpu, n := range h.limitedByCPU() {
		h.Logf("CPU %d dropped %d", cpu, n)
		if n > over/100 {
			busy++
		}
	}
	if busy < 2 {
		h.Errorf("%d CPUs had more than a hundredth of the drops, want 2 or more", busy)
	}
	return passed
}

// limitedByCPU reads from the pinned counters how many packets each CPU counted as limited.
func (h *host) limitedByCPU() (counts []int) {
	h.Helper()
	const limited = 7 // REASON_LIMITED
	maps, err := filepath.Glob(filepath.Join(h.daemon.BPFFS, "gen-*", "counters"))
	if err != nil || len(maps) != 1 {
		h.Fatalf("pinned counters: %v, %v", maps, err)
	}
	m, err := ebpf.LoadPinnedMap(maps[0], nil)
	if err != nil {
		h.Fatal(err)
	}
	defer m.Close()
	var perCPU []struct{ Packets, Bytes uint64 }
	if err := m.Lookup(uint32(limited), &perCPU); err != nil {
		h.Fatal(fmt.Errorf("counter of slot 0: %w", err))
	}
	for _, c := range perCPU {
		counts = append(counts, int(c.Packets))
	}
	return counts
}
