package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
)

// Nothing of a source arrives once its block is acknowledged; how long that
// takes from the request on is logged.
func TestBlockTakesEffectAtOnce(t *testing.T) {
	h := newHost(t)
	h.start()
	arrivals := h.timestamps()
	var latencies, answers []time.Duration
	const rounds = 50
	for i := range rounds {
		src := netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
		stop := h.sendAllAlong(src.String())
		time.Sleep(5 * time.Millisecond)
		asked := time.Now()
		if _, err := h.client().Block(t.Context(), control.BlockRequest{Prefixes: []string{src.String()}, Origin: "cli"}); err != nil {
			t.Fatal(err)
		}
		acknowledged := time.Now()
		time.Sleep(5 * time.Millisecond)
		stop()
		last := arrivals()[src]
		if last.IsZero() {
			t.Fatalf("no datagram of %s arrived before the block", src)
		}
		if last.After(acknowledged) {
			t.Errorf("%s: a datagram arrived %s after the block was acknowledged", src, last.Sub(acknowledged))
		}
		latencies = append(latencies, max(0, last.Sub(asked)))
		answers = append(answers, acknowledged.Sub(asked))
	}
	slices.Sort(latencies)
	slices.Sort(answers)
	t.Logf("from the request to the last datagram that got through: median %s, worst of %d %s; acknowledged after: median %s, worst %s",
		latencies[rounds/2], rounds, latencies[rounds-1], answers[rounds/2], answers[rounds-1])
}

// timestamps returns a function that tells when the last datagram of each source
// arrived, by the kernel's own clock stamps.
func (h *host) timestamps() func() map[netip.Addr]time.Time {
	h.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{Port: serverPort})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { c.Close() })
	raw, err := c.SyscallConn()
	if err != nil {
		h.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) })
	if err != nil {
		h.Fatal(err)
	}
	last := make(map[netip.Addr]time.Time)
	return func() map[netip.Addr]time.Time {
		h.Helper()
		data, control := make([]byte, 2048), make([]byte, 128)
		for {
			c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, n, _, from, err := c.ReadMsgUDPAddrPort(data, control)
			if os.IsTimeout(err) {
				return last
			}
			if err != nil {
				h.Fatal(err)
			}
			last[from.Addr().Unmap()] = h.stamp(control[:n])
		}
	}
}

func (h *host) stamp(control []byte) time.Time {
	h.Helper()
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(messages) != 1 || len(messages[0].Data) < 16 {
		h.Fatalf("time stamp of a datagram: %v %v", messages, err)
	}
	b := messages[0].Data
	return time.Unix(int64(le64(b)), int64(le64(b[8:])))
}

func le64(b []byte) (v uint64) {
	for i := range 8 {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}

// A million entries: they are imported, enforced, found again after a kill, and
// the daemon stays of a size that a small server bears. The figures are logged.
func TestMillion(t *testing.T) {
	const size = 1_000_000
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
	if again := ctlJSON[control.ImportResult](h, "import", path); again.Unchanged != size || again.Added+again.Removed != 0 {
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

// memory returns the lines of the daemon's status that tell its size.
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
