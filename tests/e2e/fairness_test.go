package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
)

// member is a user of the group that may use the socket.
type member struct {
	*host
	uid  int
	http *http.Client
}

func (h *host) member(uid int) *member {
	m := &member{host: h, uid: uid}
	m.http = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return m.dial() },
	}}
	return m
}

// dial connects as the member. The kernel notes the user of the thread that connects.
func (m *member) dial() (net.Conn, error) {
	type result struct {
		c   net.Conn
		err error
	}
	dialed := make(chan result)
	go func() {
		runtime.LockOSThread() // ends with its goroutine, so no other code runs as the member
		c, err := m.dialHere()
		dialed <- result{c, err}
	}()
	r := <-dialed
	return r.c, r.err
}

func (m *member) dialHere() (net.Conn, error) {
	if _, _, err := unix.RawSyscall(unix.SYS_SETRESGID, socketGroup, socketGroup, socketGroup); err != 0 {
		return nil, err
	}
	uid := uintptr(m.uid)
	if _, _, err := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); err != 0 {
		return nil, err
	}
	return net.Dial("unix", m.daemon.Socket)
}

// post sends a request, and returns the code of its error, or an empty string.
func (m *member) post(ctx context.Context, path string, request any) (code, message string, err error) {
	body, err := json.Marshal(request)
	if err != nil {
		return "", "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://x/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return "", "", err
	}
	r, err := m.http.Do(req)
	if err != nil {
		return "", "", err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err != nil {
		return "", "", err
	}
	var e struct{ Error control.Error }
	if r.StatusCode != http.StatusOK {
		if err := json.Unmarshal(answer, &e); err != nil {
			return "", "", fmt.Errorf("%s: %w", answer, err)
		}
	}
	return e.Error.Code, e.Error.Message, nil
}

// crowdedHost has a daemon for the group, with a number of max_entries.
func crowdedHost(t *testing.T, entries int) *host {
	t.Helper()
	h := newHost(t)
	h.configured(fmt.Sprintf("interfaces: [up0]\nsocket_group: \"%d\"\nmax_entries: %d\n", socketGroup, entries))
	h.start()
	return h
}

// manyAddresses returns n addresses that no other test blocks.
func manyAddresses(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("100.%d.%d.%d", 64+i>>16, i>>8&255, i&255)
	}
	return all
}

// A user has at most a share of the entries, however many origins it names, and their
// reasons count. Root is not affected.
func TestShareOfAMember(t *testing.T) {
	const entries, lists = 20_000, 6
	h := crowdedHost(t, entries)
	m := h.member(nobody)
	request := control.BlockRequest{Prefixes: manyAddresses(5000), Reason: strings.Repeat("r", 1000)}
	refused := ""
	for i := range lists {
		request.Origin = fmt.Sprintf("list-%d", i)
		if i == 1 {
			request.Reason = ""
		}
		code, message, err := m.post(t.Context(), "block", request)
		if err != nil {
			t.Fatal(err)
		}
		if code != "" {
			refused = code + ": " + message
		}
	}
	if !strings.HasPrefix(refused, control.CodeTooLarge) || !strings.Contains(refused, "uid:65534") {
		t.Errorf("the last error is %q, want one that names the share of the user", refused)
	}
	blocks := ctlJSON[control.Status](h, "status").Blocks
	file, err := os.Stat(filepath.Join(h.daemon.StateDir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d entries, state file of %d KiB", blocks, file.Size()>>10)
	if blocks > entries/2 {
		t.Errorf("one user has %d entries, want %d at most", blocks, entries/2)
	}
	h.ctl(0, "block", "203.0.113.1")
}

// A list that fills the tries leaves room for root's commands and for detectors. Even
// without that room, detectors do not fail at every tick.
func TestListLeavesRoom(t *testing.T) {
	const entries, reserve = 4000, 1024
	h := newHost(t)
	h.configured(fmt.Sprintf("interfaces: [up0]\nsocket_group: \"%d\"\nmax_entries: %d\n%s", socketGroup, entries,
		detectors))
	h.start()
	for _, n := range []int{entries - reserve, entries} {
		r, err := h.daemon.Run(t.Context(), "import", writeFile(t, strings.Join(manyAddresses(n), "\n")),
			"--origin", "full")
		if err != nil {
			t.Fatal(err)
		}
		if n == entries-reserve && r.Code != 0 || n == entries && r.Code != 1 {
			t.Errorf("a list of %d: %+v", n, r)
		}
	}
	h.ctl(0, "block", "203.0.113.1")
	code, message, err := h.member(nobody).post(t.Context(), "block",
		control.BlockRequest{Prefixes: []string{"203.0.113.2"}})
	if err != nil || code != control.CodeTooLarge || !strings.Contains(message, "reserved") {
		t.Errorf("a block of a member: %s, %s, %v", code, message, err)
	}
	h.floodUntilBanned(netip.MustParseAddr("198.51.100.1"), 2000, "udp-flood")()

	fill := control.BlockRequest{Prefixes: manyAddresses(entries)[entries-reserve:], Origin: "cli"}
	fill.Prefixes = fill.Prefixes[:reserve-10] // all but what is in use already, and a little
	if _, err := h.client().Block(t.Context(), fill); err != nil {
		t.Fatal(err)
	}
	h.flood(netip.MustParseAddr("198.51.100.2"), 60, 2000, 5*time.Second)
	if n := strings.Count(h.run.Log(), "level=ERROR"); n > 3 ||
		!strings.Contains(h.run.Log(), "detectors and rules cannot add entries") {
		t.Errorf("%d errors in the log, want one a minute that detectors and rules cannot add entries", n)
	}
	h.ctl(0, "block", "203.0.113.3")
}

// Watches of other users do not keep root from listing and importing.
func TestStreamsOfMembers(t *testing.T) {
	h := crowdedHost(t, 20_000)
	for uid := nobody - 3; uid <= nobody; uid++ {
		m := h.member(uid)
		for range 16 {
			r, err := m.http.Get("http://x/v1/watch") // returns when the daemon watches or refuses
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { r.Body.Close() })
		}
	}
	h.ctl(0, "list")
	h.importMany(10)
}

// Lists that are held open take no more memory than a few lists.
func TestImportsHeldOpen(t *testing.T) {
	const callers, lines, most = 16, 500_000, 192 << 10 // KiB
	h := crowdedHost(t, 1<<20)
	before, peak := h.anonymous(), 0
	ctx, cancel := context.WithCancel(t.Context())
	list := strings.Join(manyAddresses(lines), "\n")
	var sent atomic.Int64
	var running sync.WaitGroup
	for i := range callers {
		running.Go(func() { h.member(nobody).holdOpen(ctx, i, list, &sent) })
	}
	for last, still := int64(0), 0; still < 30; {
		pause(ctx, 100*time.Millisecond)
		peak = max(peak, h.anonymous())
		if now := sent.Load(); now != last || now == 0 {
			last, still = now, 0
		} else {
			still++
		}
	}
	cancel()
	running.Wait()
	t.Logf("memory %d KiB before, %d KiB at most; %d MiB sent", before, peak, sent.Load()>>20)
	if peak > before+most {
		t.Errorf("memory went from %d KiB to %d KiB", before, peak)
	}
}

// holdOpen sends a list and does not end it.
func (m *member) holdOpen(ctx context.Context, number int, list string, sent *atomic.Int64) {
	c, err := m.dial()
	if err != nil {
		m.Error(err)
		return
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	fmt.Fprintf(c, "POST /v1/import?origin=held%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", number,
		len(list)+1)
	const part = 64 << 10
	for at := 0; at < len(list); at += part {
		n, err := io.WriteString(c, list[at:min(at+part, len(list))])
		if sent.Add(int64(n)); err != nil {
			return
		}
	}
	<-ctx.Done()
}

// However many requests a user has sent, root's are answered after a few of them.
func TestRootBeforeTheCrowd(t *testing.T) {
	const previews, most = 120, 24
	h := crowdedHost(t, 20_000)
	h.importMany(10_000)
	m := h.member(nobody)
	for name, path := range map[string]string{"previews": "preview", "blocks": "block"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var answered, sent atomic.Int64
			var running sync.WaitGroup
			for i := range previews {
				running.Go(func() {
					r := control.BlockRequest{Prefixes: manyAddresses(10_000), Action: "shadow",
						Origin: fmt.Sprint("crowd", i%2)}
					sent.Add(1)
					m.post(ctx, path, r)
					answered.Add(1)
				})
			}
			for sent.Load() < previews || answered.Load() == 0 {
				pause(ctx, time.Millisecond)
			}
			worst := int64(0)
			for n := 0; n < 5 && answered.Load() < previews-most; n++ {
				before := answered.Load()
				if _, err := h.client().Status(t.Context()); err != nil {
					t.Error(err)
				}
				if _, err := h.client().Unblock(t.Context(),
					control.UnblockRequest{Prefixes: []string{"203.0.113.9"}}); err != nil {
					t.Error(err)
				}
				worst = max(worst, answered.Load()-before)
			}
			cancel()
			running.Wait()
			t.Logf("%d of %d requests were answered before root's two", worst, previews)
			if worst > most {
				t.Errorf("%d requests of another user were answered before root's two, want %d at most", worst, most)
			}
		})
	}
}
