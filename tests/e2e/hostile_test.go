package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paraxial/paraxial/tests/testenv"
)

// attack is something that a member of the group may do to the daemon. do
// repeats it until ctx is done, and ignores errors.
type attack struct {
	name    string
	callers int
	do      func(ctx context.Context, c net.Conn, r *rand.Rand)
}

func attacks() []attack {
	return []attack{
		{"mutated requests", 4, sendMutated},
		{"a body without end", 4, func(ctx context.Context, c net.Conn, _ *rand.Rand) {
			sendWithoutEnd(ctx, c, "POST /v1/block", strings.Repeat(" ", 1<<16))
		}},
		{"a list of one prefix without end", 8, func(ctx context.Context, c net.Conn, _ *rand.Rand) {
			sendWithoutEnd(ctx, c, "POST /v1/import?origin=same", strings.Repeat("::1\n", 1<<14))
		}},
		{"a list of rubbish without end", 4, func(ctx context.Context, c net.Conn, _ *rand.Rand) {
			sendWithoutEnd(ctx, c, "POST /v1/import?origin=rubbish&skip_invalid=true", strings.Repeat("x\n", 1<<15))
		}},
		{"a line without end", 2, func(ctx context.Context, c net.Conn, _ *rand.Rand) {
			sendWithoutEnd(ctx, c, "POST /v1/import?origin=line", strings.Repeat("1", 1<<16))
		}},
		{"a header without end", 8, func(ctx context.Context, c net.Conn, _ *rand.Rand) {
			io.WriteString(c, "GET /v1/status HTTP/1.1\r\nHost: x\r\n")
			for ctx.Err() == nil {
				if _, err := io.WriteString(c, "X: "+strings.Repeat("y", 1<<10)+"\r\n"); err != nil {
					return
				}
			}
		}},
		{"byte by byte", 100, func(ctx context.Context, c net.Conn, _ *rand.Rand) {
			for _, b := range []byte("POST /v1/block HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{") {
				if _, err := c.Write([]byte{b}); err != nil || !pause(ctx, 50*time.Millisecond) {
					return
				}
			}
			<-ctx.Done()
		}},
		{"silence", 300, func(ctx context.Context, _ net.Conn, _ *rand.Rand) { pause(ctx, time.Second) }},
		{"reading nothing of a list", 8, func(ctx context.Context, c net.Conn, _ *rand.Rand) {
			io.WriteString(c, strings.Repeat("GET /v1/entries HTTP/1.1\r\nHost: x\r\n\r\n", 100))
			<-ctx.Done()
		}},
		{"reading nothing of what happens", 8, func(ctx context.Context, c net.Conn, _ *rand.Rand) {
			io.WriteString(c, "GET /v1/watch HTTP/1.1\r\nHost: x\r\n\r\n")
			<-ctx.Done()
		}},
	}
}

// While callers attack it, the daemon stays within its limits on memory and files and answers
// others, and afterwards it has no more open files than before. PARAXIAL_SEED repeats the attack.
func TestHostileCallers(t *testing.T) {
	const (
		most      = 64 << 10 // KiB of anonymous memory above the value at the start
		connected = 128      // connections of one uid, see docs/api.md
		least     = 5        // requests of others that must be answered
	)
	seed := uint64(timesOf(t, "PARAXIAL_SEED", int(rand.Uint64()>>1)))
	period := time.Duration(timesOf(t, "PARAXIAL_HOSTILE_SECONDS", 6)) * time.Second
	t.Logf("PARAXIAL_SEED=%d", seed)
	testenv.Root(t)
	h := newHost(t)
	h.configured("interfaces: [up0]\nmax_entries: 20000\n")
	h.start()
	h.ctl(0, "block", blockedSource)
	h.importMany(10_000)
	h.ctl(0, "why", blockedSource) // from the first question on, the daemon keeps a second program open
	before, files := h.anonymous(), h.files()
	ctx, cancel := context.WithTimeout(h.Context(), period+5*time.Minute)
	defer cancel()
	dial := func() (net.Conn, error) { return net.Dial("unix", h.daemon.Socket) }
	var running sync.WaitGroup
	for i, a := range attacks() {
		for j := range a.callers {
			running.Go(func() { h.carryOn(ctx, dial, a, rand.New(rand.NewPCG(seed, uint64(i<<16|j)))) })
		}
	}
	peak, peakFiles, answered := h.observe(ctx, time.Now().Add(period), least)
	cancel()
	running.Wait()
	t.Logf("memory %d KiB before, %d KiB at most; files %d and %d; %d of others' requests answered", before, peak,
		files, peakFiles, answered)
	if peak > before+most {
		t.Errorf("memory grew from %d KiB to %d KiB", before, peak)
	}
	if peakFiles > files+connected+8 {
		t.Errorf("open files grew from %d to %d", files, peakFiles)
	}
	if answered < least {
		t.Errorf("only %d requests of others were answered", answered)
	}
	h.calm(files)
}

// calm reports whether nothing is left of an attack except the entries it added.
func (h *host) calm(files int) {
	h.Helper()
	for deadline := time.Now().Add(time.Minute); h.files() > files && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
	}
	if n := h.files(); n > files {
		h.Errorf("%d files are open, %d before the attack", n, files)
	}
	for line := range strings.Lines(h.run.Log()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") {
			h.Errorf("the daemon logged: %s", line)
		}
	}
	h.ctl(0, "why", blockedSource)
	h.ctl(0, "block", "203.0.113.1")
}

// carryOn repeats the attack, each time over a new connection.
func (h *host) carryOn(ctx context.Context, dial func() (net.Conn, error), a attack, r *rand.Rand) {
	for ctx.Err() == nil {
		c, err := dial()
		if err != nil {
			pause(ctx, 10*time.Millisecond)
			continue
		}
		stop := context.AfterFunc(ctx, func() { c.Close() })
		a.do(ctx, c, r)
		stop()
		c.Close()
	}
}

// observe watches the daemon and calls it as another user, until the end and until it has answered
// the required number of times.
func (h *host) observe(ctx context.Context, end time.Time, least int) (peak, files, answered int) {
	h.Helper()
	for (answered < least || time.Now().Before(end)) && pause(ctx, 100*time.Millisecond) {
		peak, files = max(peak, h.anonymous()), max(files, h.files())
		// In another process: the daemon may close this one's oldest idle connection to make room.
		switch r, err := h.daemon.Run(ctx, "status"); {
		case ctx.Err() != nil:
		case err != nil || r.Code != 0:
			h.Errorf("status, under attack: %+v, %v", r, err)
		default:
			answered++
		}
	}
	return peak, files, answered
}

// sendMutated sends requests with some bytes changed, and reads the answers.
func sendMutated(ctx context.Context, c net.Conn, r *rand.Rand) {
	bodies := []string{`{"prefixes":["198.18.0.1"],"for":"1s","confirm":"1s"}`,
		`{"prefixes":["2001:db8::/32"],"rate":"10/s"}`, `{"id":"x"}`, `{"prefixes":["10.0.0.0/8"],"all":true}`}
	paths := []string{"block", "allow", "unblock", "unallow", "promote", "confirm", "why?address=198.18.0.1",
		"entries?kind=block", "stats", "import?origin=m"}
	body := bodies[r.IntN(len(bodies))]
	raw := fmt.Appendf(nil, "%s /v1/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		[]string{"GET", "POST"}[r.IntN(2)], paths[r.IntN(len(paths))], len(body), body)
	for range r.IntN(4) {
		raw[r.IntN(len(raw))] = byte(r.IntN(256))
	}
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write(raw[:len(raw)-r.IntN(2)*r.IntN(len(raw))]); err != nil {
		return
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
}

// sendWithoutEnd sends an endless body, which the daemon has to cut off.
func sendWithoutEnd(ctx context.Context, c net.Conn, request, part string) {
	fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", request)
	go io.Copy(io.Discard, c)
	chunk := fmt.Sprintf("%x\r\n%s\r\n", len(part), part)
	for ctx.Err() == nil {
		if _, err := io.WriteString(c, chunk); err != nil {
			return
		}
	}
}

// pause waits, and returns false if ctx was done first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (h *host) importMany(n int) {
	h.Helper()
	var list strings.Builder
	for i := range n {
		fmt.Fprintf(&list, "100.64.%d.%d\n", i>>8, i&255)
	}
	h.ctl(0, "import", writeFile(h.T, list.String()), "--origin", "many")
}

// anonymous returns the daemon's anonymous memory in KiB.
func (h *host) anonymous() int {
	h.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.run.PID()))
	if err != nil {
		h.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				h.Fatal(err)
			}
			return n
		}
	}
	h.Fatalf("no RssAnon:\n%s", status)
	return 0
}

func (h *host) files() int {
	h.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.run.PID()))
	if err != nil {
		h.Fatal(err)
	}
	return len(fds)
}
