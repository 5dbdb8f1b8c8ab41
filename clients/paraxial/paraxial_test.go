package paraxial_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/clients/paraxial"
	"github.com/paraxial/paraxial/report"
	"github.com/paraxial/paraxial/tests/testenv"
)

// soon is longer than anything here takes on a busy machine.
const soon = time.Minute

// daemon is the other end of the socket. 192.0.2.66 is blocked.
type daemon struct {
	report.Backend // apart from sets
	rights         report.Rights
	slow           chan struct{} // answers wait for it, unless it is nil

	mu     sync.Mutex
	events []report.Event
	rates  int
	banned map[string]int
}

func (d *daemon) Reporter(uint32) (report.Rights, bool) { return d.rights, true }
func (d *daemon) Note(string, string, string)           {}

func (d *daemon) Events(_ context.Context, _ string, events []report.Event) ([]report.Refusal, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, events...)
	return nil, nil
}

func (d *daemon) Rate(_ context.Context, _ string, e report.Event) (report.Verdict, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rates++
	v := d.Verdict(e.Address)
	v.Points, v.Limit = d.rates, 5
	return v, nil
}

func (d *daemon) Verdict(a netip.Addr) report.Verdict {
	if d.slow != nil {
		<-d.slow
	}
	v := report.Verdict{Address: a, Verdict: "pass", Tags: []string{"office"}}
	if a == addr("192.0.2.66") {
		v.Verdict, v.Origin, v.Until = "drop", "rule:login", time.Unix(5, 0).UTC()
	}
	return v
}

func (d *daemon) Ban(_ context.Context, _ report.Rights, b report.Ban) (report.Verdict, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	ban := fmt.Sprint(b.Prefix, " ", b.For, " ", b.Reason)
	d.banned[ban]++
	return report.Verdict{Address: b.Prefix.Addr(), Verdict: "drop", Origin: ban}, nil
}

func (d *daemon) taken() []report.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.events
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func newDaemon() *daemon {
	return &daemon{banned: map[string]int{}, rights: report.Rights{
		Name: "shop", MayReport: func(rule string) bool { return rule == "login" }, MayAsk: true, MayBan: true,
		EventsPerSecond: 1_000_000,
		Bans:            report.Bans{MaxFor: time.Hour, WidestIPv4: 32, WidestIPv6: 64, PerMinute: 100},
	}}
}

// serve lets the daemon listen, and returns a function that stops it.
func serve(tb testing.TB, d *daemon, socket string) (stop func()) {
	tb.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	log := slog.New(slog.DiscardHandler)
	go func() { served <- report.NewServer(d, &report.Board{}, report.Options{Log: log}).Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(stop)
	return stop
}

// shield returns a shield for a daemon that is not started yet.
func shield(tb testing.TB, o paraxial.Options) (s *paraxial.Shield, socket string) {
	tb.Helper()
	o.Socket = filepath.Join(tb.TempDir(), "s")
	if o.Timeout == 0 {
		o.Timeout = soon
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s = paraxial.New(o)
	tb.Cleanup(s.Close)
	return s, o.Socket
}

func within(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	for end := time.Now().Add(soon); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestQuestions(t *testing.T) {
	s, socket := shield(t, paraxial.Options{})
	serve(t, newDaemon(), socket)
	ctx := t.Context()
	blocked := paraxial.Verdict{
		Address: addr("192.0.2.66"), Verdict: "drop", Origin: "rule:login", Until: time.Unix(5, 0).UTC(),
		Tags: []string{"office"},
	}
	same := cmp.Comparer(func(x, y netip.Addr) bool { return x == y })
	v, err := s.Ask(ctx, addr("192.0.2.66"))
	if diff := cmp.Diff(blocked, v, same); err != nil || diff != "" || !v.Dropped() {
		t.Errorf("ask: %v (-want +got):\n%s", err, diff)
	}
	blocked.Points, blocked.Limit = 1, 5
	v, err = s.Count(ctx, paraxial.Event{Address: addr("192.0.2.66"), Rule: "login"})
	if diff := cmp.Diff(blocked, v, same); err != nil || diff != "" {
		t.Errorf("count: %v (-want +got):\n%s", err, diff)
	}
	_, err = s.Count(ctx, paraxial.Event{Address: addr("192.0.2.66"), Rule: "other"})
	if e, ok := errors.AsType[*paraxial.Error](err); !ok || e.Code != "forbidden" {
		t.Errorf("count for another rule: %v", err)
	}
	list, err := s.Verdicts(ctx, []netip.Addr{addr("192.0.2.1"), addr("192.0.2.66")})
	if err != nil || len(list) != 2 || list[0].Dropped() || !list[1].Dropped() {
		t.Errorf("verdicts: %v, %v", list, err)
	}
	v, err = s.Ban(ctx, paraxial.PrefixOf(addr("2001:db8::1%eth0")), time.Minute, "why")
	if err != nil || v.Origin != "2001:db8::/64 1m0s why" {
		t.Errorf("ban: %+v, %v", v, err)
	}
	_, err = s.Ban(ctx, paraxial.PrefixOf(addr("::ffff:192.0.2.1")), 2*time.Hour, "why")
	if e, ok := errors.AsType[*paraxial.Error](err); !ok || e.Code != "budget" {
		t.Errorf("long ban: %v", err)
	}
}

// Many goroutines share the stream, and each gets the answer to its own question.
func TestManyAsk(t *testing.T) {
	s, socket := shield(t, paraxial.Options{})
	serve(t, newDaemon(), socket)
	var all sync.WaitGroup
	for n := range 50 {
		all.Go(func() {
			for m := range 40 {
				a := netip.AddrFrom4([4]byte{198, 51, byte(n), byte(m)})
				if v, err := s.Ask(t.Context(), a); err != nil || v.Address != a {
					t.Errorf("ask for %s: %v, %v", a, v, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// Events are kept while the daemon is away, and after that arrive in order.
func TestReportBeforeTheDaemonIsThere(t *testing.T) {
	s, socket := shield(t, paraxial.Options{Queue: 2000})
	for n := range 2500 {
		s.Report(paraxial.Event{Address: addr("192.0.2.1"), Rule: "login", Points: n % 1000,
			Text: strings.Repeat("\x01", 300)})
	}
	d := newDaemon()
	serve(t, d, socket)
	within(t, "the events", func() bool { return len(d.taken()) >= 2000 })
	for n, e := range d.taken() {
		if e.Points != (500+n)%1000 || e.Time.IsZero() || len(e.Text) != report.MaxEventText {
			t.Fatalf("event %d: %+v", n, e)
		}
	}
	s.Report(paraxial.Event{Address: addr("192.0.2.1"), Rule: "other"})
	s.Report(paraxial.Event{Rule: "login"})
	s.Report(paraxial.Event{Address: addr("192.0.2.9"), Rule: "login"})
	s.Close() // sends what waits
	if got, want := s.Stats(), (paraxial.Stats{Accepted: 2001, Refused: 2, Dropped: 500}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

// While the daemon is away or does not answer, questions fail at once or in time, and requests
// pass. When it is back, they are answered again.
func TestFailsOpen(t *testing.T) {
	s, socket := shield(t, paraxial.Options{Timeout: 50 * time.Millisecond})
	if _, err := s.Ask(t.Context(), addr("192.0.2.66")); !errors.Is(err, paraxial.ErrAway) {
		t.Errorf("without a daemon: %v", err)
	}
	page := httptest.NewServer(s.Allowed(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	defer page.Close()
	if got := get(t, page.URL); got != http.StatusOK {
		t.Errorf("a request without a daemon: %d", got)
	}
	d := newDaemon()
	d.slow = make(chan struct{})
	stop := serve(t, d, socket)
	within(t, "a question that waits", func() bool {
		_, err := s.Ask(t.Context(), addr("192.0.2.66"))
		return errors.Is(err, paraxial.ErrAway) && !strings.Contains(err.Error(), socket)
	})
	var failed atomic.Int32
	var all sync.WaitGroup
	for range 3000 { // more than may wait
		all.Go(func() {
			if _, err := s.Ask(t.Context(), addr("192.0.2.66")); errors.Is(err, paraxial.ErrAway) {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	if failed.Load() != 3000 {
		t.Errorf("%d of 3000 questions failed", failed.Load())
	}
	close(d.slow)
	within(t, "an answer", func() bool {
		v, err := s.Ask(t.Context(), addr("192.0.2.66"))
		return err == nil && v.Dropped()
	})
	stop()
	serve(t, d, socket)
	within(t, "an answer of the next daemon", func() bool {
		v, err := s.Ask(t.Context(), addr("192.0.2.66"))
		return err == nil && v.Dropped()
	})
}

func get(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func TestMiddleware(t *testing.T) {
	client := addr("192.0.2.1")
	known := true
	s, socket := shield(t, paraxial.Options{Client: func(*http.Request) (netip.Addr, bool) { return client, known }})
	d := newDaemon()
	serve(t, d, socket)
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, ok := paraxial.FromContext(r.Context())
		fmt.Fprint(w, ok, v.Tags)
	})
	call := func(h http.Handler) string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/login?x", nil))
		return fmt.Sprint(w.Code, " ", strings.TrimSpace(w.Body.String()))
	}
	for _, tt := range []struct {
		client  string
		known   bool
		allowed string
		rate    string
	}{
		{"192.0.2.1", true, "200 true [office]", "200 true [office]"},
		{"192.0.2.66", true, "403 Forbidden", "429 Too Many Requests"},
		{"192.0.2.66", false, "200 false []", "200 false []"},
	} {
		client, known = addr(tt.client), tt.known
		if got := call(s.Allowed(app)); got != tt.allowed {
			t.Errorf("%s: Allowed: %s, want %s", tt.client, got, tt.allowed)
		}
		if got := call(s.Rate("login", app)); got != tt.rate {
			t.Errorf("%s: Rate: %s, want %s", tt.client, got, tt.rate)
		}
	}
	if got := call(s.Rate("other", app)); !strings.HasPrefix(got, "200") {
		t.Errorf("a rule that it may not report for: %s", got)
	}
	if d.rates != 2 {
		t.Errorf("%d events were counted, want 2", d.rates)
	}
}

// BenchmarkRate compares what questions cost over the stream and over HTTP, both ends together.
// The lines of stream-raw are sent 64 at a time by a client that does not read JSON, so they show
// the cost of the daemon's end.
func BenchmarkRate(b *testing.B) {
	s, socket := shield(b, paraxial.Options{})
	serve(b, newDaemon(), socket)
	ctx := context.Background()
	e := paraxial.Event{Address: addr("192.0.2.1"), Rule: "login"}
	wire := report.Event{Address: e.Address, Rule: e.Rule}
	plain := report.NewClient(socket)
	for _, tt := range []struct {
		name string
		many int // goroutines for each processor
		ask  func() error
	}{
		{"stream", 8, func() error { _, err := s.Count(ctx, e); return err }},
		{"http", 2, func() error { _, err := plain.Rate(ctx, wire); return err }},
		{"http-keepalive", 2, keepAlive(socket)},
	} {
		b.Run(tt.name, func(b *testing.B) {
			b.SetParallelism(tt.many)
			measure(b, func() {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := tt.ask(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		})
	}
	b.Run("stream-raw", func(b *testing.B) { measure(b, func() { askRaw(b, socket) }) })
}

// measure reports the questions in a second of processor time.
func measure(b *testing.B, run func()) {
	began := testenv.CPUTime(b)
	run()
	b.ReportMetric(float64(b.N)/(testenv.CPUTime(b)-began).Seconds(), "questions/cpu-s")
}

// askRaw asks b.N questions, 64 at a time.
func askRaw(b *testing.B, socket string) {
	nc, err := net.Dial("unix", socket)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, "GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ndjson\r\n\r\n")
	in := bufio.NewReader(nc)
	const atOnce = 64
	lines := strings.Repeat(`{"rate":{"address":"192.0.2.1","rule":"login"}}`+"\n", atOnce)
	for range 4 { // the answer to the upgrade
		in.ReadSlice('\n')
	}
	for left := b.N; left > 0; left -= atOnce {
		n := min(left, atOnce)
		io.WriteString(nc, lines[:len(lines)/atOnce*n])
		for range n {
			if _, err := in.ReadSlice('\n'); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// keepAlive asks over HTTP on connections that stay open.
func keepAlive(socket string) func() error {
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	return func() error {
		resp, err := c.Post("http://x/v1/rate", "", strings.NewReader(`{"address":"192.0.2.1","rule":"login"}`))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
}
