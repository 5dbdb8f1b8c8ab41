package report

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/paraxial/paraxial/tests/testenv"
)

const nobody = 65534

// asNobody runs f on a thread of its own that has the uid of nobody. Sockets that f opens belong
// to nobody.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	done := make(chan syscall.Errno, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody)
		if errno == 0 {
			f()
		}
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		t.Errorf("become nobody: %v", errno)
	}
}

// counting counts what each of two reporters gets done.
type counting struct {
	*fake
	rates, events, bans map[string]*atomic.Int64
}

func newCounting() *counting {
	both := func() map[string]*atomic.Int64 { return map[string]*atomic.Int64{"shop": {}, "rogue": {}} }
	return &counting{&fake{rights: func(uid uint32) (Rights, bool) {
		r := shop()
		if uid == nobody {
			r.Name, r.EventsPerSecond = "rogue", 1000
		}
		return r, true
	}}, both(), both(), both()}
}

func (c *counting) Events(_ context.Context, reporter string, events []Event) ([]Refusal, error) {
	c.events[reporter].Add(int64(len(events)))
	return nil, nil
}

func (c *counting) Rate(_ context.Context, reporter string, e Event) (Verdict, error) {
	c.rates[reporter].Add(1)
	return Verdict{Address: e.Address, Verdict: "pass"}, nil
}

func (c *counting) Ban(_ context.Context, who Rights, b Ban) (Verdict, error) {
	c.bans[who.Name].Add(1)
	return Verdict{Address: b.Prefix.Addr(), Verdict: "drop"}, nil
}

// A reporter that sends events, questions, bans and connections as fast as it can gets no more
// than its budgets and connections, and another one is served all the while.
func TestReporterRunAmok(t *testing.T) {
	testenv.Root(t)
	dir, err := os.MkdirTemp("", "report")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f := newCounting()
	socket := dir + "/s"
	serveBackend(t, f, &Board{}, Options{MaxConns: 4, StallTimeout: 2 * time.Second}, socket)
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	steady := openStream(t, socket, "")
	began, stop := time.Now(), make(chan struct{})
	var storms sync.WaitGroup
	attempts := stormAll(t, &storms, socket, stop)
	c, ctx := NewClient(socket), t.Context()
	rogue := func() int64 { return f.events["rogue"].Load() + f.rates["rogue"].Load() }
	for n := 0; n < 500 || attempts.Load() < 5000 || rogue() < 1000; n++ {
		io.WriteString(steady, rateQuestion+"\n")
		if got := steady.read(); !strings.Contains(got, `"verdict":"pass"`) {
			t.Fatalf("question %d: %s", n, got)
		}
		if n%100 == 0 {
			if taken, err := c.Events(ctx, []Event{login("192.0.2.1")}); err != nil || taken.Accepted != 1 {
				t.Fatalf("event %d: %+v, %v", n, taken, err)
			}
		}
	}
	if _, err := c.Ban(ctx, Ban{Prefix: netip.MustParsePrefix("192.0.2.1/32"), For: time.Minute}); err != nil {
		t.Errorf("ban: %v", err)
	}
	close(stop)
	storms.Wait()
	most := int64(1000 * (2 + time.Since(began).Seconds()))
	if got := rogue(); got > most {
		t.Errorf("%d events of the rogue were counted, want at most %d", got, most)
	}
	if got := f.bans["rogue"].Load(); float64(got) > 3+3*time.Since(began).Minutes() {
		t.Errorf("%d bans of the rogue were carried out, with a budget of 3 in a minute", got)
	}
}

// stormAll lets nobody send as fast as it can until stop is closed. It returns how often it has.
func stormAll(t *testing.T, storms *sync.WaitGroup, socket string, stop chan struct{}) *atomic.Int64 {
	var attempts atomic.Int64
	post := func(path, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	}
	event := `{"address":"192.0.2.9","rule":"login"}` + "\n"
	for _, lines := range []string{
		upgrade + strings.Repeat(rateQuestion+"\n", 500),
		upgrade + strings.Repeat(`{"event":`+strings.TrimSpace(event)+"}\n", 500),
		post("/v1/events", strings.Repeat(event, MaxEvents)),
		strings.Repeat(post("/v1/ban", `{"address":"192.0.2.9","for":"1m"}`), 20),
		"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{", // never complete
		"",
	} {
		storms.Go(func() { asNobody(t, func() { storm(socket, lines, stop, &attempts) }) })
	}
	return &attempts
}

// storm opens connections, sends the same on each, and reads what is answered.
func storm(socket, lines string, stop chan struct{}, attempts *atomic.Int64) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		attempts.Add(1)
		nc, err := net.Dial("unix", socket)
		if err != nil {
			continue
		}
		nc.SetDeadline(time.Now().Add(100 * time.Millisecond))
		io.WriteString(nc, lines)
		if lines != "" {
			io.Copy(io.Discard, nc)
		}
		nc.Close()
	}
}
