package feeds

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paraxial/paraxial/report"
)

// lab is a subscription with a server, a daemon and a clock of the test.
type lab struct {
	*testing.T
	*subscription
	server *httptest.Server
	daemon *fakeDaemon
	clock  time.Time
	answer http.HandlerFunc // of the server

	asked    sync.Mutex // held by the server for what follows; refreshed waits for it
	requests []*http.Request
}

var start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func newLab(t *testing.T, change ...func(*Feed)) *lab {
	t.Helper()
	l := &lab{T: t, daemon: &fakeDaemon{}, clock: start}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.asked.Lock()
		l.requests = append(l.requests, r)
		answer := l.answer
		l.asked.Unlock()
		answer(w, r)
	})
	l.server = httptest.NewTLSServer(handler)
	l.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(l.server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: l.server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	f := Feed{
		Name: "x", URL: l.server.URL + "/list.txt", Every: 6 * time.Hour, TTL: 48 * time.Hour, CA: ca,
		Timeout: time.Minute, MaxBytes: 1 << 20, MaxEntries: 10_000, MaxShrink: 0.5, MaxGrow: 3,
		MaxShare: 0.01,
	}
	for _, c := range change {
		c(&f)
	}
	l.open(f, filepath.Join(t.TempDir(), "x"))
	return l
}

// open makes the subscription, as a start of the agent does.
func (l *lab) open(f Feed, dir string) {
	l.Helper()
	allow := func(a netip.Addr) error {
		if a == netip.MustParseAddr("127.0.0.1") {
			return nil
		}
		return checkPublic(a)
	}
	now := func() time.Time { return l.clock }
	s, err := newSubscription(f, dir, &environment{
		find:    func(string) (*subscription, bool) { return nil, false },
		fetcher: fetcher{agent: "test", proxy: noProxy, allow: allow, now: now},
		sender:  l.daemon, now: now, random: func() float64 { return 0 },
	})
	if err != nil {
		l.Fatal(err)
	}
	l.subscription = s
}

func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

// restart opens the state again, as it is on the disk.
func (l *lab) restart(change ...func(*Feed)) {
	l.Helper()
	f := l.feed
	for _, c := range change {
		c(&f)
	}
	l.open(f, l.dir)
}

// serve makes the server answer with a body and headers "Name: value".
func (l *lab) serve(status int, text string, headers ...string) {
	l.answer = func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}
}

// refreshed refreshes and returns the error as text.
func (l *lab) refreshed() string {
	l.Helper()
	err := l.refresh(l.Context())
	l.awaitRequest()
	if err != nil {
		return err.Error()
	}
	return ""
}

// awaitRequest waits for the end of a request that may have had no answer.
func (l *lab) awaitRequest() {
	l.asked.Lock()
	defer l.asked.Unlock()
}

// good refreshes, which must succeed.
func (l *lab) good() {
	l.Helper()
	if err := l.refreshed(); err != "" {
		l.Fatal(err)
	}
}

// bad refreshes, which must fail with this text, both in the error and in the state.
func (l *lab) bad(want string) {
	l.Helper()
	if err := l.refreshed(); !strings.Contains(err, want) || err == "" {
		l.Errorf("error %q, want %q", err, want)
	}
	if st := l.state(); !strings.Contains(st.Error, want) {
		l.Errorf("the state says %q, want %q", st.Error, want)
	}
}

// has checks the set at the daemon, and the generation in the state.
func (l *lab) has(generation uint64, want ...string) {
	l.Helper()
	if !slices.Equal(l.daemon.set, want) {
		l.Errorf("the daemon has %q, want %q", l.daemon.set, want)
	}
	st := l.state()
	if st.Generation != generation || !st.Ended && st.Entries != len(want) {
		l.Errorf("generation %d with %d entries, want %d with %d", st.Generation, st.Entries, generation, len(want))
	}
}

// addresses returns n addresses, as lines.
func addresses(n int) []string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("203.0.%d.%d", 100+i/200, i%200))
	}
	return all
}

func text(lines []string) string { return strings.Join(lines, "\n") + "\n" }

func hosts(addresses []string) []string {
	var all []string
	for _, a := range addresses {
		all = append(all, a+"/32")
	}
	return all
}

// fakeDaemon is a Sender.
type fakeDaemon struct {
	mu         sync.Mutex
	set        []string
	sets       map[string]string // by the name of the feed
	known      map[string]uint64 // generations
	fors       []time.Duration
	reasons    []string
	generation uint64
	puts       int
	renewals   int
	accepted   bool
	err        error
	holds      string // why it holds a set that is not accepted
	reports    int
	commands   chan report.Command
	answers    chan report.Answer
}

// fails lets all requests fail, or succeed if err is nil.
func (d *fakeDaemon) fails(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *fakeDaemon) Put(_ context.Context, s report.Set) (report.Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.puts++
	if d.err != nil {
		return report.Result{}, d.err
	}
	if d.accepted = s.Accept; d.holds != "" && !s.Accept {
		return report.Result{Held: d.holds, Removed: 7}, nil
	}
	var set, reasons []string
	var fors []time.Duration
	for e, err := range s.Entries {
		if err != nil {
			return report.Result{}, err
		}
		set, fors, reasons = append(set, e.Prefix.String()), append(fors, e.For), append(reasons, e.Reason)
	}
	if d.sets != nil {
		if d.known == nil {
			d.known = map[string]uint64{}
		}
		d.known[s.Name] = s.Generation
		d.sets[s.Name] = strings.Join(set, " ")
	}
	d.set, d.fors, d.reasons, d.generation = set, fors, reasons, s.Generation
	return report.Result{Added: len(set)}, nil
}

func (d *fakeDaemon) Renew(_ context.Context, name string, generation uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	if last := d.generation; d.known[name] != generation && (d.sets != nil || last != generation) {
		return report.ErrUnknown
	}
	d.renewals++
	return nil
}

func (d *fakeDaemon) Change(_ context.Context, c report.Changes) (report.Result, error) {
	return report.Result{}, fmt.Errorf("changes of %s", c.Name)
}

func (d *fakeDaemon) Report(context.Context, []report.State) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reports++
	return d.err
}

func (d *fakeDaemon) Command(ctx context.Context) (report.Command, bool, error) {
	select {
	case c := <-d.commands:
		return c, true, nil
	case <-ctx.Done():
		return report.Command{}, false, ctx.Err()
	}
}

func (d *fakeDaemon) Answer(_ context.Context, _ string, a report.Answer) error {
	d.answers <- a
	return nil
}

var errDown = errors.New("the daemon is down")
