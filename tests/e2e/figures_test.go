package e2e

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
)

// No packet that a source sends after its block was acknowledged arrives. The time from the request
// to the last datagram that arrived is logged.
func TestBlockTakesEffectAtOnce(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	s.Keep()
	var latencies, answers []time.Duration
	const rounds = 50
	for i := range rounds {
		src := netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
		numbered := h.sendNumbered(src)
		h.within("a datagram arrives before the block", patience, func() bool { return s.Sources()[src] > 0 })
		asked := time.Now()
		if _, err := h.client().Block(t.Context(), control.BlockRequest{Prefixes: []string{src.String()},
			Origin: "cli"}); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, time.Since(asked))
		// The program may have decided on the datagram in flight before the block.
		most := numbered.sent.Load() + 1
		h.within("packets are sent after the block", patience, func() bool { return numbered.sent.Load() > most+10 })
		numbered.stop()
		h.settle(s)
		last := lastOf(s.Kept(), src)
		if n := binary.BigEndian.Uint64(last.Data); n > most {
			t.Errorf("%s: datagram %d arrived; the block was acknowledged before datagram %d was sent", src, n, most+1)
		}
		latencies = append(latencies, max(0, last.At.Sub(asked)))
	}
	slices.Sort(latencies)
	slices.Sort(answers)
	t.Logf("from the request to the last datagram that got through: median %s, worst of %d %s; "+
		"acknowledged after: median %s, worst %s",
		latencies[rounds/2], rounds, latencies[rounds-1], answers[rounds/2], answers[rounds-1])
}

// numbered sends datagrams that carry their numbers, starting at 1.
type numbered struct {
	sent atomic.Uint64 // number of the last one on the wire
	stop func()
}

func (h *host) sendNumbered(src netip.Addr) *numbered {
	n := new(numbered)
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for number := uint64(1); ; number++ {
			select {
			case <-done:
				return
			default:
			}
			data := binary.BigEndian.AppendUint64(nil, number)
			if err := h.wire.Send(h.wire.From(src).UDP(clientPort, serverPort, data)); err != nil {
				h.Error(err)
				return
			}
			n.sent.Store(number)
			time.Sleep(500 * time.Microsecond)
		}
	})
	n.stop = func() {
		close(done)
		running.Wait()
	}
	return n
}

// lastOf returns the last datagram of a source.
func lastOf(list []lab.Datagram, src netip.Addr) (last lab.Datagram) {
	for _, d := range list {
		if d.Source == src {
			last = d
		}
	}
	return last
}

// A great many entries are imported, enforced, and present again after a kill: a million in make
// proof and make figures. The figures are logged.
func TestMillionEntries(t *testing.T) {
	size := timesOf(t, "PARAXIAL_ENTRIES", 300_000)
	h := newHost(t)
	h.start()
	s := h.serve()
	path := filepath.Join(t.TempDir(), "million.txt")
	address := func(i int) netip.Addr {
		// An odd multiplier visits every address of 64.0.0.0/8 at most once.
		n := uint32(i) * 2654435761 & 0xffffff
		return netip.AddrFrom4([4]byte{64, byte(n >> 16), byte(n >> 8), byte(n)})
	}
	var list strings.Builder
	listed := make(map[netip.Addr]bool)
	for i := range size {
		listed[address(i)] = true
		fmt.Fprintln(&list, address(i))
	}
	if err := os.WriteFile(path, []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}

	begin := time.Now()
	got := ctlJSON[control.ImportResult](h, "import", path)
	t.Logf("import of %d entries: %s; daemon: %s", size, time.Since(begin), h.memory())
	if got.Added != size {
		t.Fatalf("import: %+v", got)
	}
	begin = time.Now()
	if again := ctlJSON[control.ImportResult](h, "import", path); again.Unchanged != size ||
		again.Added+again.Removed != 0 {
		t.Errorf("the same import again: %+v", again)
	}
	t.Logf("the same import again: %s", time.Since(begin))

	h.kill()
	begin = time.Now()
	h.start()
	t.Logf("start with %d entries, filter in the kernel: %s; daemon: %s", size, time.Since(begin), h.memory())
	h.kill()
	h.detach()
	begin = time.Now()
	h.start()
	t.Logf("start with %d entries, nothing in the kernel: %s; daemon: %s", size, time.Since(begin), h.memory())

	if status := ctlJSON[control.Status](h, "status"); status.Blocks != size {
		t.Errorf("%d blocks after a restart, want %d", status.Blocks, size)
	}
	var blocked, free []netip.Addr
	for i := 0; i < size; i += 997 {
		blocked = append(blocked, address(i))
		if next := address(i).Next(); !listed[next] {
			free = append(free, next)
		}
	}
	if arrived := h.arrivals(s, blocked); len(arrived) > 0 {
		t.Errorf("%d listed sources got through", len(arrived))
	}
	if arrived := h.arrivals(s, free); len(arrived) != len(free) {
		t.Errorf("%d of %d unlisted neighbours got through", len(arrived), len(free))
	}
}

// memory returns the lines of the daemon's status file that give its size.
func (h *host) memory() string {
	h.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.run.PID()))
	if err != nil {
		h.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "VmHWM") || strings.HasPrefix(line, "Rss") {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(lines, ", ")
}
