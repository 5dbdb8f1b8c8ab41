package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/report"
)

// daemon is the other end of the report socket. It counts events.
type daemon struct {
	report.Backend
	mu     sync.Mutex
	events []report.Event
	refuse func(report.Event) string // the code of a refusal; may be nil
	fail   error
	rate   int
}

func (d *daemon) Reporter(uint32) (report.Rights, bool) {
	return report.Rights{
		Name: "logs", MayReport: func(string) bool { return true }, EventsPerSecond: d.rate,
		MayTell: func(string) bool { return true },
	}, true
}

func (d *daemon) Note(_, _, _ string) {}

func (d *daemon) Events(_ context.Context, _ string, events []report.Event) (refused []report.Refusal, _ error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return nil, d.fail
	}
	for n, e := range events {
		if d.refuse != nil && d.refuse(e) != "" {
			refused = append(refused, report.Refusal{Line: n + 1, Code: d.refuse(e), Message: "no"})
			continue
		}
		d.events = append(d.events, e)
	}
	return refused, nil
}

func (d *daemon) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}

func (d *daemon) taken() []report.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]report.Event{}, d.events...)
}

// host is a folder with logs, a daemon and an engine.
type host struct {
	*testing.T
	daemon *daemon
	dir    string
	board  report.Board
	engine *Engine
	stop   func()
	listen func() // makes the daemon listen
	close  func() // makes it go away
	ctx    context.Context
}

func newHost(t *testing.T) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "logs") // the name of t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &host{T: t, dir: dir, daemon: &daemon{rate: 1_000_000}}
	if err := os.Mkdir(h.path("state"), 0o700); err != nil {
		t.Fatal(err)
	}
	// The server remembers the last batch of each log, and the daemon the counts. A real daemon
	// forgets both with a restart.
	server := report.NewServer(h.daemon, &h.board, report.Options{OverBudget: time.Millisecond})
	h.listen = func() {
		l, err := net.Listen("unix", h.path("sock"))
		if err != nil {
			t.Fatal(err)
		}
		h.close = background(context.Background(), func(ctx context.Context) {
			server.Serve(ctx, l)
		})
	}
	h.listen()
	t.Cleanup(func() { h.close() })
	return h
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

func (h *host) write(name, text string) {
	h.Helper()
	f, err := os.OpenFile(h.path(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		h.Fatal(err)
	}
}

// parse returns the logs of a configuration. DIR stands for the folder.
func (h *host) parse(text string) config.Config {
	h.Helper()
	c, err := config.Parse("test", []byte(strings.ReplaceAll(text, "DIR", h.dir)))
	if err != nil {
		h.Fatal(err)
	}
	return c
}

// start starts an engine with a configuration. stop is called at the end.
func (h *host) start(text string) {
	h.Helper()
	h.engine = New(Options{
		Dir: h.path("state"), Sender: report.NewClient(h.path("sock")), TellEvery: 50 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(testWriter{h.T}, nil)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	h.ctx = ctx
	h.configure(text)
	done := background(ctx, h.engine.Run)
	h.stop = func() {
		cancel()
		done()
	}
	h.Cleanup(h.stop)
}

func (h *host) configure(text string) {
	h.Helper()
	c := h.parse(text)
	if err := h.engine.Configure(h.ctx, c.Logs, c.ProxyPrefixes()); err != nil {
		h.Fatal(err)
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func (h *host) eventually(what string, f func() bool) {
	h.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.Fatalf("not within a minute: %s\n%d events %+v", what, len(h.daemon.taken()), h.engine.States())
		}
	}
}

// await waits for a number of events.
func (h *host) await(n int) []report.Event {
	h.Helper()
	h.eventually(fmt.Sprintf("%d events", n), func() bool { return len(h.daemon.taken()) >= n })
	return h.daemon.taken()
}

// read waits until a log has read a number of lines and handed in its events.
func (h *host) read(name string, lines int) (s report.LogState) {
	h.Helper()
	h.eventually(fmt.Sprintf("%d lines of %s", lines, name), func() (ok bool) {
		s, _, _, ok = h.board.Log(name)
		return ok && s.Lines >= lines && s.BehindBytes == 0 && s.Error == ""
	})
	return s
}

const sshdLog = "logs: [{name: sshd, file: DIR/auth.log, format: sshd, rule: login}]\n"

func failed(n int) string {
	const line = "2026-01-02T03:04:05Z h sshd[1]: Failed password for u%d from 198.51.100.%d port 1 ssh2\n"
	return fmt.Sprintf(line, n, n%250)
}

func TestFile(t *testing.T) {
	h := newHost(t)
	h.write("auth.log", failed(1))
	h.start(sshdLog)
	h.eventually("the file is open", func() bool { return h.engine.States()[0].Files == 1 })
	h.write("auth.log", failed(2)+"2026-01-02T03:04:05Z h sshd[1]: hello\n"+
		"2026-01-02T03:04:06Z h sshd[1]: Accepted password for u3 from 198.51.100.3 port 1 ssh2\n")
	at := fmt.Sprint(h.path("auth.log"), ":")
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	first := int64(len(failed(1)))
	want := []report.Event{
		{Address: netip.MustParseAddr("198.51.100.2"), Rule: "login", User: "u2", Time: when,
			Text: strings.TrimSuffix(failed(2), "\n"), Where: fmt.Sprint(at, first)},
		{Address: netip.MustParseAddr("198.51.100.3"), Rule: "login", User: "u3",
			Time:    when.Add(time.Second),
			Success: true,
			Text:    "2026-01-02T03:04:06Z h sshd[1]: Accepted password for u3 from 198.51.100.3 port 1 ssh2",
			Where:   fmt.Sprint(at, first+int64(len(failed(2)))+38)},
	}
	if diff := cmp.Diff(want, h.await(2), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	s := h.read("sshd", 3)
	if s.Matched != 1 || s.Successes != 1 || s.Unread != 1 || s.Error != "" || s.Source != h.path("auth.log") {
		t.Errorf("%+v", s)
	}
}

// TestRestarts stops the engine at any time, with a daemon that loses answers. Each line counts
// once.
func TestRestarts(t *testing.T) {
	const lines = 4000
	h := newHost(t)
	h.write("auth.log", "")
	h.start(sshdLog)
	h.eventually("the file is open", func() bool { return h.engine.States()[0].Files == 1 })
	for n := 1; n <= lines; n++ {
		h.write("auth.log", failed(n))
		if n%200 == 0 {
			h.stop()
			if n%400 == 0 {
				os.Rename(h.path("auth.log"), h.path(fmt.Sprintf("auth.log.%d", n)))
				h.write("auth.log", "")
			}
			if n%600 == 0 {
				h.close()
			}
			h.start(sshdLog)
			if n%600 == 0 {
				h.write("auth.log", failed(n+lines))
				h.eventually("the events wait", func() bool {
					return strings.Contains(h.engine.States()[0].Error, "events wait: paraxiald's socket")
				})
				h.listen()
			}
		}
	}
	want := lines + lines/600
	h.await(want)
	h.read("sshd", 1)
	seen := map[string]int{}
	for _, e := range h.daemon.taken() {
		seen[e.User]++
	}
	if len(seen) != want || len(h.daemon.taken()) != want {
		t.Errorf("%d events, %d different ones, want %d", len(h.daemon.taken()), len(seen), want)
	}
}

// TestLostAnswers: the daemon has counted a batch, and the engine ends before it knows.
func TestLostAnswers(t *testing.T) {
	h := newHost(t)
	h.write("auth.log", "")
	counted := make(chan struct{})
	once := sync.Once{}
	ctx, cancel := context.WithCancel(context.Background())
	h.engine = New(Options{
		Dir: h.path("state"), Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
		Sender: lossy{report.NewClient(h.path("sock")), func() { once.Do(func() { close(counted) }) }},
	})
	c := h.parse(sshdLog)
	if err := h.engine.Configure(ctx, c.Logs, nil); err != nil {
		t.Fatal(err)
	}
	h.eventually("the file is open", func() bool { return h.engine.States()[0].Files == 1 })
	for n := range 10 {
		h.write("auth.log", failed(n))
	}
	<-counted
	cancel()
	background(ctx, h.engine.Run)()
	if n := len(h.daemon.taken()); n == 0 {
		t.Fatal("nothing was counted")
	}
	h.start(sshdLog)
	h.write("auth.log", failed(10))
	h.await(11)
	seen := map[string]int{}
	for _, e := range h.daemon.taken() {
		if seen[e.User]++; seen[e.User] > 1 {
			t.Errorf("%s counts twice", e.User)
		}
	}
}

// TestEqualBatches: a line without a time that is at the same place in the next file counts again.
func TestEqualBatches(t *testing.T) {
	h := newHost(t)
	h.write("a.log", "")
	h.start("logs: [{name: a, file: DIR/a.log, rule: r, patterns: [{text: 'no password from <addr>'}]}]")
	h.eventually("the file is open", func() bool { return h.engine.States()[0].Files == 1 })
	for n := 1; n <= 3; n++ {
		h.write("a.log", "no password from 198.51.100.9\n")
		h.await(n)
		os.Rename(h.path("a.log"), h.path(fmt.Sprintf("a.log.%d", n)))
	}
}

// lossy loses all answers.
type lossy struct {
	*report.Client
	sent func()
}

func (l lossy) Send(ctx context.Context, source, id string, b *report.Batch) (report.Taken, error) {
	_, err := l.Client.Send(ctx, source, id, b)
	if err == nil {
		l.sent()
		err = errors.New("the answer is lost")
	}
	return report.Taken{}, err
}

// TestRefusals: what is over the budget is handed in again, and other refusals are counted.
func TestRefusals(t *testing.T) {
	h := newHost(t)
	h.daemon.rate = 500
	h.daemon.refuse = func(e report.Event) string {
		if e.User == "u7" {
			return "own_address"
		}
		return ""
	}
	h.write("auth.log", "")
	h.start(sshdLog)
	h.eventually("the file is open", func() bool { return h.engine.States()[0].Files == 1 })
	var text strings.Builder
	for n := range 1200 {
		text.WriteString(failed(n))
	}
	h.write("auth.log", text.String())
	h.await(1199)
	s := h.read("sshd", 1200)
	if s.Refused != 1 || s.Refusal != "own_address: no" || s.Matched != 1200 {
		t.Errorf("%+v", s)
	}
	h.daemon.set(func() { h.daemon.fail = report.Errorf(report.CodeInvalidRequest, "not understood") })
	h.write("auth.log", failed(1))
	if s := h.read("sshd", 1201); s.Refused != 2 {
		t.Errorf("%+v", s)
	}
	h.daemon.set(func() { h.daemon.fail = report.Errorf(report.CodeBusy, "later") })
	h.write("auth.log", failed(2))
	h.eventually("the event waits", func() bool { return h.engine.States()[0].Error == "events wait: later" })
	h.daemon.set(func() { h.daemon.fail = nil })
	h.await(1200)
	h.write("auth.log", failed(7)+failed(7)+failed(7))
	if s := h.read("sshd", 1205); s.RefusedInRow != 3 {
		t.Errorf("refused in a row: %+v", s)
	}
	h.write("auth.log", failed(1))
	if s := h.read("sshd", 1206); s.RefusedInRow != 0 {
		t.Errorf("refused in a row: %+v", s)
	}
}

// TestReload: a log that stays goes on, one that is changed is read on from its position, and one
// with another file begins at the end of that.
func TestReload(t *testing.T) {
	h := newHost(t)
	h.write("auth.log", "")
	h.write("other.log", failed(9))
	h.start(sshdLog)
	h.eventually("the file is open", func() bool { return h.engine.States()[0].Files == 1 })
	h.write("auth.log", failed(1))
	h.await(1)
	h.configure("logs: []")
	h.write("auth.log", failed(2))
	if states := h.engine.States(); len(states) != 0 {
		t.Errorf("%+v", states)
	}
	h.configure(strings.Replace(sshdLog, "rule: login", "rule: other", 1))
	if e := h.await(2)[1]; e.User != "u2" || e.Rule != "other" {
		t.Errorf("%+v", e)
	}
	h.configure(strings.Replace(sshdLog, "auth.log", "other.log", 1))
	h.eventually("the file is open", func() bool { return h.engine.States()[0].Files == 1 })
	h.write("other.log", failed(3))
	if e := h.await(3)[2]; e.User != "u3" {
		t.Errorf("%+v", e)
	}
	if err := h.engine.Configure(h.ctx, []config.LogSource{{
		Name: "x", Syslog: config.Syslog{Socket: h.path("s"), Users: []string{"nobody-there"}},
		Format: "sshd", Rule: "x",
	}}, nil); err == nil || !strings.Contains(err.Error(), "log x: the user nobody-there does not exist") {
		t.Errorf("a log of an unknown user: %v", err)
	}
	if s := h.engine.States(); len(s) != 1 || s[0].Error == "" {
		t.Errorf("%+v", s)
	}
}

// TestProxies: behind a trusted proxy the client is held, or nobody.
func TestProxies(t *testing.T) {
	h := newHost(t)
	h.write("a.log", "")
	h.start("proxies: [192.0.2.0/24, 192.0.2.7/32, '2001:db8::/32']\nlogs: [{name: web, file: DIR/a.log, " +
		"format: nginx-access, rule: scan, match: {path: ['/x/**']}}]")
	h.eventually("the file is open", func() bool { return h.engine.States()[0].Files == 1 })
	const rest = ` - - [28/Nov/2026:10:00:00 +0000] "GET /x/%s HTTP/1.1" 200 5 "-" "agent" "%s"` + "\n"
	for _, tt := range [][3]string{
		{"198.51.100.1", "direct", "203.0.113.5"},
		{"192.0.2.7", "one", "203.0.113.5, 198.51.100.2"},
		{"192.0.2.200", "two", "203.0.113.5, 198.51.100.3, 192.0.2.9"},
		{"2001:db8::1", "six", "198.51.100.4"},
		{"192.0.2.7", "forwarded", "for=203.0.113.5, for=198.51.100.5"},
		// A client cannot hide behind a text that it puts before the address that the proxy adds.
		{"192.0.2.7", "hiding", "for=203.0.113.5, 198.51.100.6"},
		{"192.0.2.7", "nobody", "203.0.113.5, unknown"},
		{"192.0.2.7", "missing", "-"},
	} {
		h.write("a.log", tt[0]+fmt.Sprintf(rest, tt[1], tt[2]))
	}
	h.write("a.log", `192.0.2.7 - - [28/Nov/2026:10:00:00 +0000] "GET /x/none HTTP/1.1" 200 5 "-" "agent"`+"\n")
	h.read("web", 9)
	var got []string
	for _, e := range h.await(6) {
		got = append(got, e.Address.String()+" "+e.Path)
	}
	want := []string{"198.51.100.1 /x/direct", "198.51.100.2 /x/one", "198.51.100.3 /x/two", "198.51.100.4 /x/six",
		"198.51.100.5 /x/forwarded", "198.51.100.6 /x/hiding"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if s := h.read("web", 9); s.Proxied != 3 || s.Matched != 6 {
		t.Errorf("%+v", s)
	}
}

func TestSocket(t *testing.T) {
	h := newHost(t)
	h.start(fmt.Sprintf("logs: [{name: web, syslog: {socket: DIR/log, users: ['%d']}, "+
		"format: nginx-access, rule: scan}]",
		os.Getuid()))
	var c net.Conn
	h.eventually("the socket is there", func() bool {
		var err error
		c, err = net.Dial("unixgram", h.path("log"))
		return err == nil
	})
	defer c.Close()
	before := time.Now()
	fmt.Fprint(c, `<190>Nov 28 10:00:00 web nginx: `+`198.51.100.1 - - [28/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" `+
		`404 1`)
	e := h.await(1)[0]
	if e.Address.String() != "198.51.100.1" || e.Time.Before(before.Add(-time.Second)) || e.Where != h.path("log") {
		t.Errorf("%+v", e)
	}
}

// TestPrograms: a message of another program on the socket is none of the format's program, whatever
// its text is.
func TestPrograms(t *testing.T) {
	h := newHost(t)
	h.start(fmt.Sprintf("logs: [{name: a, syslog: {socket: DIR/log, users: ['%d']}, format: sshd, rule: r}]",
		os.Getuid()))
	var c net.Conn
	h.eventually("the socket is there", func() bool {
		var err error
		c, err = net.Dial("unixgram", h.path("log"))
		return err == nil
	})
	defer c.Close()
	const text = "Failed password for root from 198.51.100.%d port 22 ssh2"
	for n, head := range []string{
		"<38>Nov 28 10:00:00 h web[1]: ", "<38>Nov 28 10:00:00 h web[1]: sshd[1]: ", "<38>web: ",
		"<38>1 2026-11-28T10:00:00Z h web 1 - - ", "<38>2026-11-28T10:00:00+00:00 h web: ",
		"<38>Nov 28 10:00:00 h sshd[1]: ", "<38>sshd-session: ", "<38>1 2026-11-28T10:00:00Z h sshd 1 - - ", "",
	} {
		fmt.Fprintf(c, head+text, n)
	}
	var got []string
	h.read("a", 9)
	for _, e := range h.daemon.taken() {
		got = append(got, e.Address.String())
	}
	want := []string{"198.51.100.5", "198.51.100.6", "198.51.100.7", "198.51.100.8"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestJournal uses a program in place of journalctl, which gives the entries behind a cursor.
func TestJournal(t *testing.T) {
	h := newHost(t)
	script := `from=0
for a in "$@"; do case "$a" in
  --after-cursor=*) from=${a#*=};;
  --cursor=*) echo "__CURSOR=${a#*=}"; echo; exit;;
esac; done
case "$*" in *--follow*) ;; *) echo __CURSOR=0; echo; exit;; esac
while :; do
  n=$(cat ` + h.path("n") + `)
  while [ $from -lt $n ]; do from=$((from+1))
    printf '__CURSOR=%s\n__REALTIME_TIMESTAMP=1700000000000000\n_UID=0\n_SYSTEMD_UNIT=ssh.service\n' $from
    printf 'MESSAGE=Failed password for u%s from 198.51.100.7 port 1 ssh2\n\n' $from
  done; sleep 0.02
done`
	h.write("n", "0")
	start := func() {
		h.start("logs: []")
		h.engine.opts.Journalctl = []string{"/bin/sh", "-c", script, "journalctl"}
		h.configure("logs: [{name: sshd, journal: {units: [ssh.service]}, format: sshd, rule: login}]")
	}
	start()
	set := func(n int) {
		if err := os.WriteFile(h.path("n.new"), fmt.Append(nil, n), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Rename(h.path("n.new"), h.path("n"))
	}
	for n := 100; n <= 500; n += 100 {
		set(n)
		h.await(n - 50)
		h.stop()
		set(n + 50)
		start()
	}
	events := h.await(550)
	if e := events[0]; e.Where != "journal ssh.service 1" || e.User != "u1" || e.Time.Unix() != 1_700_000_000 {
		t.Errorf("%+v", e)
	}
	for n, e := range events {
		if e.User != fmt.Sprintf("u%d", n+1) {
			t.Fatalf("event %d is of %s", n+1, e.User)
		}
	}
	if data, err := os.ReadFile(h.path("state/sshd.json")); err != nil || !json.Valid(data) {
		t.Errorf("%s %v", data, err)
	}
}

// TestHostileLines: no text of a client makes a stranger responsible.
func TestHostileLines(t *testing.T) {
	const stranger = "203.0.113.5"
	h := newHost(t)
	for _, name := range []string{"auth.log", "access.log", "error.log"} {
		h.write(name, "")
	}
	h.start("logs:\n- {name: sshd, file: DIR/auth.log, format: sshd, rule: r}\n" +
		"- {name: access, file: DIR/access.log, format: nginx-access, rule: r}\n" +
		"- {name: error, file: DIR/error.log, format: nginx-error, rule: r}\n")
	h.eventually("the files are open", func() bool {
		for _, s := range h.engine.States() {
			if s.Files != 1 {
				return false
			}
		}
		return true
	})
	texts := []string{
		stranger, "a from " + stranger + " port 22", "a from " + stranger + " port 22 ssh2",
		stranger + " port 22 \\[preauth]",
		"x\" 404 1\" " + stranger,
		"/x\", client: " + stranger + ", server: a, request: \"b", "\\\" " + stranger + " - - [",
		"x\x00" + stranger, "Nov 28 10:00:00 h sshd[1]: Failed password for root from " + stranger + " port 22 ssh2",
		"\r" + failedFrom(stranger), strings.Repeat("x", 900) + " from " + stranger + " port 22 ssh2",
		strings.Repeat("x", 70_000) + failedFrom(stranger),
		stranger + " - - [28/Nov/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 404 1",
		", client: " + stranger + ", server: x",
	}
	lines := 0
	for _, x := range texts {
		h.write("auth.log", "Nov 28 10:00:00 h sshd[1]: Invalid user "+x+" from 198.51.100.9 port 4\n"+
			"Nov 28 10:00:00 h sshd[1]: Failed password for invalid user "+x+" from 198.51.100.9 port 4 ssh2\n"+
			"Nov 28 10:00:00 h sshd[1]: Connection closed by invalid user "+x+" 198.51.100.9 port 4 [preauth]\n")
		escaped := strings.NewReplacer("\"", "\\x22", "\\", "\\x5C", "\x00", "\\x00", "\r", "\\x0D").Replace(x)
		h.write("access.log", `198.51.100.9 - `+escaped+` [28/Nov/2026:10:00:00 +0000] "GET `+escaped+
			` HTTP/1.1" 404 1 "`+escaped+`" "`+escaped+"\"\n")
		h.write("error.log", `2026/11/28 10:00:00 [error] 1#1: *2 open() "/www/`+x+`" failed (2: No such file or `+
			`directory), client: 198.51.100.9, server: s, request: "GET `+x+` HTTP/1.1", host: "h", `+
			`referrer: "`+x+"\"\n")
		lines++
	}
	// A line that was written in two halves, with a truncation between them.
	h.write("auth.log", "Nov 28 10:00:00 h sshd[1]: Invalid user "+failedFrom(stranger)[:40])
	h.read("access", lines-1) // one is longer than is read
	s := h.read("error", lines-1)
	if s.Matched == 0 {
		t.Errorf("%+v", s)
	}
	h.eventually("the lines of sshd", func() bool {
		st := h.engine.States()[0]
		return st.Lines+st.TooLong >= 3*lines && st.Matched > 20
	})
	for _, e := range h.daemon.taken() {
		if e.Address.String() != "198.51.100.9" {
			t.Errorf("%s is held for %q", e.Address, e.Text)
		}
	}
}

func failedFrom(addr string) string {
	return "Nov 28 10:00:00 h sshd[1]: Failed password for root from " + addr + " port 22 ssh2"
}

func TestProxyRanges(t *testing.T) {
	p := newProxies([]netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16"),
		netip.MustParsePrefix("9.255.255.255/32"),
		netip.MustParsePrefix("2001:db8::/33"), netip.MustParsePrefix("255.255.255.255/32"),
	})
	for a, want := range map[string]bool{
		"10.0.0.0": true, "10.255.255.255": true, "11.0.0.0": false, "9.255.255.254": false, "9.255.255.255": true,
		"2001:db8:7fff:ffff:ffff:ffff:ffff:ffff": true, "2001:db8:8000::": false, "::": false, "0.0.0.0": false,
		"255.255.255.255": true, "ffff::": false,
	} {
		if got := p.has(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s is a proxy: %t", a, got)
		}
	}
}
