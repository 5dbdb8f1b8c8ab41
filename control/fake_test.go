package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

var errBroken = errors.New("the disk is on fire")

// fake records the calls of the backend and answers with prepared results.
type fake struct {
	mu    sync.Mutex
	calls []any // Caller and request

	status func(context.Context) (Status, error)
	block  func(context.Context, Block) (ChangeResult, error)
	watch  func(context.Context, func(Event) error) error
	list   func(context.Context, func(Entry) error) error
	load   func(context.Context, io.Reader) (ImportResult, error)
}

type recorded struct {
	Author  string
	Request any
}

func (f *fake) record(c Caller, r any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, recorded{c.Author(), r})
}

func (f *fake) taken() []any {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

var (
	created = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	entry   = Entry{Prefix: "192.0.2.0/24", Kind: "block", Action: "drop", Origin: "cli", Author: "uid:0",
		Created: created}
)

func (f *fake) Status(ctx context.Context) (Status, error) {
	if f.status != nil {
		return f.status(ctx)
	}
	return Status{Version: "1.2.3", PID: 7, Started: created}, nil
}

func (f *fake) Stats(context.Context) (Stats, error) {
	return Stats{Interfaces: []InterfaceStats{{Name: "eth0", Packets: 3, Bytes: 180}}}, nil
}

func (f *fake) Detectors(context.Context) (DetectorsStatus, error) {
	return DetectorsStatus{Enabled: true, Detectors: []DetectorStatus{{Name: "syn-flood", IPv4Prefix: 32}},
		Breaker: BreakerStatus{Since: &created}}, nil
}

func (f *fake) Top(context.Context) (TopResult, error) {
	return TopResult{Time: created, Sources: []TopSource{{Source: "192.0.2.7/32", Share: 0.5, Since: created}}}, nil
}

func (f *fake) Block(ctx context.Context, c Caller, r Block) (ChangeResult, error) {
	f.record(c, r)
	if f.block != nil {
		return f.block(ctx, r)
	}
	return ChangeResult{Entries: []Entry{entry}}, nil
}

func (f *fake) Preview(_ context.Context, c Caller, r Block) (PreviewResult, error) {
	f.record(c, r)
	return PreviewResult{WouldApply: true, Connections: PreviewConnection{Known: true, Count: 1, Peers: 1,
		Services: []PreviewService{{Protocol: "tcp", Direction: "in", Port: 22, Count: 1}}}}, nil
}

func (f *fake) Allow(_ context.Context, c Caller, r Allow) (ChangeResult, error) {
	f.record(c, r)
	return ChangeResult{Entries: []Entry{entry}, Notes: []string{"host bits cleared"}}, nil
}

func (f *fake) Unblock(_ context.Context, c Caller, r Removal) (RemoveResult, error) {
	f.record(c, r)
	return RemoveResult{Removed: []Entry{entry}}, nil
}

func (f *fake) Unallow(_ context.Context, c Caller, r Removal) (RemoveResult, error) {
	f.record(c, r)
	return RemoveResult{}, nil
}

func (f *fake) Feeds(context.Context) (FeedsStatus, error) {
	f.record(Caller{}, "feeds")
	return FeedsStatus{}, nil
}

func (f *fake) Logs(context.Context) (LogsStatus, error) {
	f.record(Caller{}, "logs")
	return LogsStatus{}, nil
}

func (f *fake) FeedCommand(_ context.Context, c Caller, r FeedCommand) (FeedAnswer, error) {
	f.record(c, r)
	return FeedAnswer{Text: "done"}, nil
}

func (f *fake) Rules(_ context.Context, name string) (RulesStatus, error) {
	f.record(Caller{}, "rules "+name)
	return RulesStatus{}, nil
}

func (f *fake) Forgive(_ context.Context, c Caller, r Forgiveness) (ForgiveResult, error) {
	f.record(c, r)
	return ForgiveResult{Address: r.Address.String()}, nil
}

func (f *fake) Origins(context.Context) (OriginsResult, error) {
	f.record(Caller{}, "origins")
	return OriginsResult{}, nil
}

func (f *fake) Flush(_ context.Context, c Caller, r Flush) (FlushResult, error) {
	f.record(c, r)
	return FlushResult{Origin: r.Origin, Blocks: 2, Allows: 1}, nil
}

func (f *fake) Promote(_ context.Context, c Caller, r Promotion) (ChangeResult, error) {
	f.record(c, r)
	return ChangeResult{Entries: []Entry{entry}}, nil
}

func (f *fake) Confirm(_ context.Context, c Caller, r ConfirmRequest) (ChangeResult, error) {
	f.record(c, r)
	return ChangeResult{}, Errorf(CodeNotFound, "nothing waits to be confirmed")
}

func (f *fake) Entries(ctx context.Context, kind policy.Kind, origin string, yield func(Entry) error) error {
	f.record(Caller{}, fmt.Sprintf("%s,%s", kind, origin))
	if f.list != nil {
		return f.list(ctx, yield)
	}
	if origin == "detector:syn" {
		e := entry
		e.Evidence = &Evidence{Detector: "syn", Rate: "412/s", Limit: "200/s", Window: "5s", Count: 2060,
			First: created, Last: created, Offence: 2}
		return yield(e)
	}
	return yield(entry)
}

func (f *fake) Import(ctx context.Context, c Caller, r Import, list io.Reader,
	progress func(ImportProgress)) (ImportResult, error) {
	f.record(c, r)
	if f.load != nil {
		return f.load(ctx, list)
	}
	var result ImportResult
	err := policy.ReadList(list, func(l policy.ListLine) bool {
		result.Added++
		return true
	})
	progress(ImportProgress{Read: result.Added})
	return result, err
}

func (f *fake) Why(_ context.Context, source netip.Addr) (WhyResult, error) {
	return WhyResult{Address: source.String(), Verdict: "pass", CheckedBy: "kernel"}, nil
}

func (f *fake) Watch(ctx context.Context, yield func(Event) error) error {
	if f.watch != nil {
		return f.watch(ctx, yield)
	}
	return yield(Event{Time: created, Type: EventLost, Count: 9})
}

func (f *fake) Detach(_ context.Context, c Caller) error {
	f.record(c, "detach")
	return nil
}

// serve starts a server for b on a new socket and returns the path.
func serve(tb testing.TB, b Backend, opts Options) string {
	tb.Helper()
	socket := filepath.Join(tb.TempDir(), "s")
	l, err := Listen(socket, "")
	if err != nil {
		tb.Fatal(err)
	}
	serveOn(tb, l, b, opts)
	return socket
}

func serveOn(tb testing.TB, l net.Listener, b Backend, opts Options) {
	tb.Helper()
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	run(tb, NewServer(b, opts), l)
}

func run(tb testing.TB, s *Server, listeners ...net.Listener) {
	tb.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, listeners...) }()
	tb.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			tb.Errorf("Serve: %v", err)
		}
	})
}

// answer is an answer as curl would show it.
type answer struct {
	Status int
	Type   string
	Body   string
}

// request sends one request unchanged, without the client's own checks.
func request(tb testing.TB, socket, method, target, body string) answer {
	tb.Helper()
	hc := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequest(method, "http://x"+target, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := hc.Do(req)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatalf("%s %s: %v", method, target, err)
	}
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), string(data)}
}
