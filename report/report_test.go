package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/conns"
)

// soon is longer than anything here takes on a busy machine.
const soon = time.Minute

// fake is a backend that notes what it was asked.
type fake struct {
	may    string // the sets of the reporter; empty: the caller is none
	take   func(Set, io.Reader) (Result, error)
	rights func(uid uint32) (Rights, bool) // instead of may

	mu    sync.Mutex
	calls []string
}

func (f *fake) Reporter(uid uint32) (Rights, bool) {
	if f.rights != nil {
		return f.rights(uid)
	}
	sets := strings.Fields(f.may)
	return Rights{Name: "r", MayPut: func(set string) bool {
		for _, s := range sets {
			if s == set {
				return true
			}
		}
		return false
	}}, len(sets) > 0
}

func (f *fake) Put(_ context.Context, reporter string, s Set, list io.Reader) (Result, error) {
	if f.take != nil {
		return f.take(s, list)
	}
	data, err := io.ReadAll(list)
	f.note("put %s %s %d %t %q %v", reporter, s.Name, s.Generation, s.Accept, data, err)
	return Result{Added: 3, Held: "why"}, err
}

func (f *fake) Change(_ context.Context, reporter string, c Changes, list io.Reader) (Result, error) {
	data, err := io.ReadAll(list)
	f.note("change %s %s %d %q %v %v", reporter, c.Name, c.Generation, data, c.Remove, err)
	return Result{Added: 1, Removed: 2}, err
}

func (f *fake) Renew(_ context.Context, reporter, set string, generation uint64) error {
	f.note("renew %s %s %d", reporter, set, generation)
	if generation != 7 {
		return Errorf(CodeUnknown, "generation %d is not in force", generation)
	}
	return nil
}

func (f *fake) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fake) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

func serve(t *testing.T, f *fake, o Options) (socket string, board *Board) {
	t.Helper()
	socket, board = filepath.Join(t.TempDir(), "s"), &Board{}
	serveBackend(t, f, board, o, socket)
	return socket, board
}

func serveBackend(t *testing.T, b Backend, board *Board, o Options, socket string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- NewServer(b, board, o).Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := waitFor(t, served, "the server to stop"); err != nil {
			t.Error(err)
		}
	})
}

func waitFor[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(soon):
		t.Fatalf("waited in vain for %s", what)
		panic("not reached")
	}
}

func entries(list ...Entry) func(func(Entry, error) bool) {
	return func(yield func(Entry, error) bool) {
		for _, e := range list {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func code(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

func TestRequests(t *testing.T) {
	f := &fake{may: "a b"}
	socket, board := serve(t, f, Options{})
	c, ctx := NewClient(socket), t.Context()
	result, err := c.Put(ctx, Set{Name: "a", Generation: 5, Accept: true, Entries: entries(
		Entry{Prefix: netip.MustParsePrefix("192.0.2.0/24")},
		Entry{Prefix: netip.MustParsePrefix("2001:db8::1/128"), For: 1500 * time.Millisecond, Reason: "ssh login # 5"},
	)})
	if diff := cmp.Diff(Result{Added: 3, Held: "why"}, result); err != nil || diff != "" {
		t.Errorf("put: %v (-want +got):\n%s", err, diff)
	}
	if err := c.Renew(ctx, "b", 7); err != nil {
		t.Error(err)
	}
	result, err = c.Change(ctx, Changes{Name: "a", Generation: 6,
		Put:    []Entry{{Prefix: netip.MustParsePrefix("192.0.2.1/32"), For: time.Minute, Reason: "a b"}},
		Remove: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")},
	})
	if err != nil || result.Removed != 2 {
		t.Errorf("change: %+v, %v", result, err)
	}
	if err := c.Renew(ctx, "b", 8); !errors.Is(err, ErrUnknown) {
		t.Errorf("renew of another generation: %v", err)
	}
	want := []string{
		`put r a 5 true "192.0.2.0/24\n2001:db8::1/128 for=2s reason=ssh+login+%23+5\n" <nil>`,
		"renew r b 7", `change r a 6 "192.0.2.1/32 for=60s reason=a+b\n" [2001:db8::/32] <nil>`, "renew r b 8",
	}
	if diff := cmp.Diff(want, f.taken()); diff != "" {
		t.Errorf("the backend was asked (-want +got):\n%s", diff)
	}

	told := State{
		Name: "a", URL: "https://x/\x1b[2J", Generation: 5, Error: strings.Repeat("e", 600),
		Held:  &Held{Reason: "\u202ex"},
		Notes: []string{"n\x07"}, CheckedAt: time.Unix(5, 0).UTC(),
	}
	if err := c.Report(ctx, []State{told, {Name: "b"}}); err != nil {
		t.Fatal(err)
	}
	told.URL, told.Error = "https://x/?[2J", strings.Repeat("e", maxText)+"…"
	told.Held, told.Notes = &Held{Reason: "?x"}, []string{"n?"}
	got, by, ok := board.State("a")
	if diff := cmp.Diff(told, got); diff != "" || by != "r" || !ok {
		t.Errorf("state by %q, %t (-want +got):\n%s", by, ok, diff)
	}
	if err := c.Report(ctx, []State{{Name: "b"}}); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := board.State("a"); ok {
		t.Error("a state is kept that the reporter does not tell any more")
	}
}

// A reporter may do nothing with a set that is not its own, and nobody else anything.
func TestRights(t *testing.T) {
	ctx := t.Context()
	for _, tt := range []struct{ may, want string }{{"b", CodeForbidden}, {"", CodeForbidden}} {
		f := &fake{may: tt.may}
		socket, board := serve(t, f, Options{})
		c := NewClient(socket)
		_, putErr := c.Put(ctx, Set{Name: "a", Entries: entries()})
		_, changeErr := c.Change(ctx, Changes{Name: "a"})
		for what, err := range map[string]error{
			"put": putErr, "renew": c.Renew(ctx, "a", 7), "change": changeErr,
			"report": c.Report(ctx, []State{{Name: "b"}, {Name: "a"}}),
		} {
			if code(err) != tt.want {
				t.Errorf("%s with the sets %q: %v", what, tt.may, err)
			}
		}
		if tt.may == "" {
			_, _, err := c.Command(ctx)
			for _, err := range []error{err, c.Answer(ctx, "x", Answer{})} {
				if code(err) != tt.want {
					t.Errorf("a stranger: %v", err)
				}
			}
		}
		if calls := f.taken(); len(calls) > 0 {
			t.Errorf("reached the backend: %v", calls)
		}
		if _, _, ok := board.State("b"); ok {
			t.Error("the state is told though another is not allowed")
		}
	}
}

// All strangers together have the connections of one reporter, so they take none from it.
func TestStrangersShare(t *testing.T) {
	reporter := NewServer(&fake{may: "a"}, &Board{}, Options{}).share(conns.Caller{UID: 7, PID: 1})
	strangers := NewServer(&fake{}, &Board{}, Options{})
	one, other := strangers.share(conns.Caller{UID: 8, PID: 2}), strangers.share(conns.Caller{UID: 0, PID: 3})
	if one.Key != other.Key || one.Key == reporter.Key || one.Root || other.Root || one.Crowd == other.Crowd {
		t.Errorf("a reporter %+v, strangers %+v and %+v", reporter, one, other)
	}
}

func TestWrongRequests(t *testing.T) {
	socket, _ := serve(t, &fake{may: "a"}, Options{})
	for _, tt := range []struct{ request, want string }{
		{"PUT /v1/sets/a", CodeInvalidRequest}, // no generation
		{"PUT /v1/sets/a?generation=-1", CodeInvalidRequest},
		{"PUT /v1/sets/a?generation=1&accept=perhaps", CodeInvalidRequest},
		{"PUT /v1/sets/..?generation=1", CodeInvalidRequest},
		{"PUT /v1/sets/a%20b?generation=1", CodeInvalidRequest},
		{"PUT /v1/sets/a?%", CodeInvalidRequest},
		{"GET /v1/sets/a", CodeMethodNotAllowed},
		{"POST /v1/sets/a/renew", CodeInvalidRequest}, // no body
		{"POST /v1/sets/a/force", CodeNotFound},
		{"POST /v1/sets/a/changes", CodeInvalidRequest}, // no generation
		{"PUT /v1/sets/a/changes", CodeMethodNotAllowed},
		{"PUT /v1/feeds", CodeInvalidRequest},
		{"GET /v1/feeds", CodeMethodNotAllowed},
		{"GET /v1/commands?wait=x", CodeInvalidRequest},
		{"GET /v1/commands?wait=-1s", CodeInvalidRequest},
		{"POST /v1/commands/x", CodeInvalidRequest},
		{"GET /v1/events", CodeMethodNotAllowed},
		{"POST /v1/rate", CodeInvalidRequest}, // no body
		{"GET /v1/verdict?address=x", CodeInvalidRequest},
		{"POST /v1/verdicts", CodeForbidden}, // the reporter may only hand in sets
		{"POST /v1/ban", CodeInvalidRequest},
		{"GET /v1/stream", CodeInvalidRequest}, // no upgrade
		{"GET /v1/status", CodeNotFound},
		{"POST /v1/block", CodeNotFound},
		{"GET /", CodeNotFound},
	} {
		nc, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(nc, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", tt.request)
		answer, err := io.ReadAll(nc)
		nc.Close()
		if !strings.Contains(string(answer), `{"error":{"code":"`+tt.want+`"`) {
			t.Errorf("%s: %v, %s", tt.request, err, answer)
		}
	}
}

// docs/api.md has every request.
func TestDocsNameEveryRequest(t *testing.T) {
	page, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range []string{
		"PUT /v1/sets/NAME", "POST /v1/sets/NAME/renew", "POST /v1/sets/NAME/changes", "PUT /v1/feeds",
		"GET /v1/commands", "POST /v1/commands/ID",
		"POST /v1/events", "POST /v1/rate", "GET /v1/verdict", "POST /v1/verdicts", "POST /v1/ban", "GET /v1/stream",
	} {
		if !strings.Contains(string(page), "`"+request+"`") {
			t.Errorf("docs/api.md does not have %s", request)
		}
	}
}

func TestSplitChanges(t *testing.T) {
	for _, tt := range []struct{ body, list, want string }{
		{"+192.0.2.1 for=1s\n-192.0.2.2\n+192.0.2.3", "192.0.2.1 for=1s\n192.0.2.3", "[192.0.2.2/32]"},
		{"-2001:db8::/32 \r\n", "", "[2001:db8::/32]"},
		{"", "", "[]"},
		{"+1\n-x\n", "", "line 2: "},
		{"192.0.2.1\n", "", "line 1: want + or -"},
		{"+192.0.2.1\n\n", "", "line 2: want + or -"},
		{strings.Repeat("+192.0.2.1\n", MaxChanges+1), "", "more than 20000 changes"},
	} {
		var c Changes
		list, err := splitChanges([]byte(tt.body), &c)
		got := fmt.Sprint(c.Remove)
		if err != nil {
			list, got = nil, err.Error()
		}
		if string(list) != tt.list || !strings.Contains(got, tt.want) {
			t.Errorf("%.40q: list %.40q, %s; want %q, %s", tt.body, list, got, tt.list, tt.want)
		}
	}
}

// A set whose reporter dies, or that is slow, must not look like a short set.
func TestIncompleteSet(t *testing.T) {
	for name, tt := range map[string]struct {
		opts Options
		send func(nc net.Conn)
		want string
	}{
		"cut off": {Options{}, func(nc net.Conn) { nc.Close() }, "cut off"},
		"silent":  {Options{StallTimeout: 50 * time.Millisecond}, func(net.Conn) {}, "nothing came for 50ms"},
		"endless": {Options{SetTimeout: 100 * time.Millisecond}, func(nc net.Conn) {
			for {
				if _, err := io.WriteString(nc, "1\r\n#\r\n"); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		}, "not complete after 100ms"},
		"slow": {Options{StallTimeout: 2 * time.Second, SetRate: 1 << 30}, func(nc net.Conn) {
			for {
				if _, err := io.WriteString(nc, "1\r\n#\r\n"); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		}, "fewer than 1073741824 bytes per second"},
	} {
		t.Run(name, func(t *testing.T) {
			read := make(chan error, 1)
			f := &fake{may: "a", take: func(_ Set, list io.Reader) (Result, error) {
				_, err := io.Copy(io.Discard, list)
				read <- err
				return Result{}, err
			}}
			socket, _ := serve(t, f, tt.opts)
			nc, err := net.Dial("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			io.WriteString(nc, "PUT /v1/sets/a?generation=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"+
				"a\r\n192.0.2.1\n\r\n")
			go tt.send(nc)
			err = waitFor(t, read, "the set to end")
			if code(err) != CodeInvalidRequest || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the set ended with %v", err)
			}
		})
	}
}

// The error of the entries is that of Put, and nothing is changed.
func TestBrokenEntries(t *testing.T) {
	broken := errors.New("broken")
	f := &fake{may: "a"}
	socket, _ := serve(t, f, Options{})
	_, err := NewClient(socket).Put(t.Context(), Set{Name: "a", Entries: func(yield func(Entry, error) bool) {
		if yield(Entry{Prefix: netip.MustParsePrefix("192.0.2.0/24")}, nil) {
			yield(Entry{}, broken)
		}
	}})
	if !errors.Is(err, broken) {
		t.Errorf("put: %v", err)
	}
	for deadline := time.Now().Add(soon); ; time.Sleep(time.Millisecond) {
		if calls := f.taken(); len(calls) == 1 && strings.Contains(calls[0], "cut off") {
			return
		} else if len(calls) > 0 || time.Now().After(deadline) {
			t.Fatalf("the backend was asked %q", calls)
		}
	}
}

// The error of a set that is refused before it is complete arrives.
func TestRefusedEarly(t *testing.T) {
	f := &fake{may: "a", take: func(Set, io.Reader) (Result, error) {
		return Result{}, Errorf(CodeInvalidRequest, "no")
	}}
	socket, _ := serve(t, f, Options{})
	list := func(yield func(Entry, error) bool) {
		for range 1_000_000 {
			if !yield(Entry{Prefix: netip.MustParsePrefix("192.0.2.0/24")}, nil) {
				return
			}
		}
	}
	if _, err := NewClient(socket).Put(t.Context(), Set{Name: "a", Entries: list}); code(err) != CodeInvalidRequest {
		t.Errorf("put: %v", err)
	}
}

// One reporter has one set in memory at a time.
func TestSetsWait(t *testing.T) {
	started, finish := make(chan struct{}, 10), make(chan struct{})
	f := &fake{may: "a b", take: func(Set, io.Reader) (Result, error) {
		started <- struct{}{}
		<-finish
		return Result{}, nil
	}}
	socket, _ := serve(t, f, Options{})
	done := make(chan error, 2)
	for _, name := range []string{"a", "b"} {
		go func() {
			_, err := NewClient(socket).Put(context.Background(), Set{Name: name, Entries: entries()})
			done <- err
		}()
	}
	waitFor(t, started, "a set")
	select {
	case <-started:
		t.Error("two sets are in memory")
	case <-time.After(50 * time.Millisecond):
	}
	finish <- struct{}{}
	waitFor(t, started, "the other set")
	finish <- struct{}{}
	for range 2 {
		if err := waitFor(t, done, "a set to be taken"); err != nil {
			t.Error(err)
		}
	}
}
