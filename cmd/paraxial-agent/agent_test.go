package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/feeds"
	"github.com/paraxial/paraxial/feeds/catalog"
	"github.com/paraxial/paraxial/report"
)

// asAgent is the variable that makes the test binary the agent.
const asAgent = "PARAXIAL_TEST_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		os.Args[0] = "paraxial-agent"
		main()
	}
	os.Exit(m.Run())
}

// daemon is the other end of the socket.
type daemon struct {
	report.Backend // apart from sets

	mu    sync.Mutex
	sets  map[string]string // the last set of each feed
	lines map[string]int
	puts  int
	board report.Board

	events  map[string]int // by user
	counted func()         // is called for every request with events; may be nil
}

func (d *daemon) Reporter(uid uint32) (report.Rights, bool) {
	all := func(string) bool { return true }
	return report.Rights{
		Name: "feeds", MayPut: all, MayReport: all, MayTell: all, EventsPerSecond: 1_000_000,
	}, uid == uint32(os.Getuid())
}

func (d *daemon) Events(_ context.Context, _ string, events []report.Event) ([]report.Refusal, error) {
	d.mu.Lock()
	for _, e := range events {
		d.events[e.User]++
	}
	counted := d.counted
	d.mu.Unlock()
	if counted != nil {
		counted()
	}
	return nil, nil
}

func (d *daemon) Put(_ context.Context, _ string, s report.Set, list io.Reader) (report.Result, error) {
	var first string
	n := 0
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		if n++; n <= 2 {
			first += lines.Text() + "\n"
		}
	}
	if err := lines.Err(); err != nil {
		return report.Result{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sets[s.Name], d.lines[s.Name] = first, n
	d.puts++
	return report.Result{Added: n}, nil
}

func (d *daemon) Change(context.Context, string, report.Changes, io.Reader) (report.Result, error) {
	return report.Result{}, report.Errorf(report.CodeUnknown, "put it")
}

func (d *daemon) Renew(context.Context, string, string, uint64) error { return nil }

func (d *daemon) set(name string) (first string, lines int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sets[name], d.lines[name]
}

// host is a folder with a configuration, a daemon and an agent.
type host struct {
	*testing.T
	*daemon
	dir    string
	agent  *exec.Cmd
	log    bytes.Buffer
	told   chan string // by the agent to the service manager
	ended  chan error
	extras string // of the configuration
	verb   string // the command of the agent
}

func newHost(t *testing.T) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // the name of t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &host{T: t, dir: dir, daemon: &daemon{sets: map[string]string{}, lines: map[string]int{},
		events: map[string]int{}}, verb: "feeds"}
	l, err := net.Listen("unix", h.path("report.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		report.NewServer(h.daemon, &h.board, report.Options{}).Serve(ctx, l)
	}()
	t.Cleanup(func() {
		cancel()
		<-served
	})
	return h
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

func (h *host) write(name, text string) {
	h.Helper()
	if err := os.WriteFile(h.path(name), []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
}

// configure writes the configuration with these lines of feeds.
func (h *host) configure(feeds ...string) {
	h.Helper()
	text := "reports: {socket: " + h.path("report.sock") + "}\n" + h.extras
	if len(feeds) > 0 {
		text += "feeds:\n" + strings.Join(feeds, "\n") + "\n"
	}
	h.write("paraxiald.yaml", text)
}

// start starts the agent, and waits until it is ready.
func (h *host) start() {
	h.Helper()
	notify, err := net.ListenPacket("unixgram", h.path("notify.sock"))
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { notify.Close() })
	told, ended := make(chan string, 100), make(chan error, 1) // of this agent, while another starts
	h.told, h.ended = told, ended
	go func() {
		b := make([]byte, 4096)
		for {
			n, _, err := notify.ReadFrom(b)
			if err != nil {
				return
			}
			told <- string(b[:n])
		}
	}()
	h.agent = exec.Command(os.Args[0], h.verb, "--config", h.path("paraxiald.yaml"), "--state-dir", h.path("state"))
	h.agent.Env = append(os.Environ(), asAgent+"=1", "NOTIFY_SOCKET="+h.path("notify.sock"))
	h.agent.Stderr = &h.log
	if err := h.agent.Start(); err != nil {
		h.Fatal(err)
	}
	agent := h.agent
	go func() { ended <- agent.Wait() }()
	h.Cleanup(func() {
		agent.Process.Kill()
		if h.Failed() {
			h.Logf("log of the agent:\n%s", h.log.String())
		}
	})
	h.await("READY=1")
}

// await waits for a message to the service manager.
func (h *host) await(want string) {
	h.Helper()
	for limit := time.After(time.Minute); ; {
		select {
		case got := <-h.told:
			if strings.HasPrefix(got, want) {
				return
			}
		case err := <-h.ended:
			h.Fatalf("the agent ends (%v), and %q does not come", err, want)
		case <-limit:
			h.Fatalf("%q does not come", want)
		}
	}
}

func (h *host) eventually(what string, f func() bool) {
	h.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.Fatalf("not within a minute: %s", what)
		}
	}
}

func (h *host) command(verb report.Verb, name string) report.Answer {
	h.Helper()
	var answer report.Answer
	h.eventually("the command "+string(verb), func() bool {
		var err error
		answer, err = h.board.Do(h.Context(), report.Command{Verb: verb, Name: name})
		return err == nil
	})
	return answer
}

func (h *host) stop() {
	h.Helper()
	h.agent.Process.Signal(syscall.SIGTERM)
	if err := <-h.ended; err != nil {
		h.Errorf("after SIGTERM the agent ends with %v", err)
	}
}

func TestAgent(t *testing.T) {
	h := newHost(t)
	h.configure()
	h.start()
	h.await("STATUS=no feeds")
	h.write("list", "203.0.113.7 # one\n203.0.113.0/24\n")
	h.configure("- {name: x, url: " + h.path("list") + ", use: block, every: 1h}")
	h.agent.Process.Signal(syscall.SIGHUP)
	h.await("RELOADING=1")
	h.await("READY=1")
	h.eventually("the set comes", func() bool { _, n := h.set("x"); return n == 2 })
	if first, _ := h.set("x"); !strings.HasPrefix(first, "203.0.113.0/24\n203.0.113.7/32") {
		t.Errorf("the set is\n%s", first)
	}
	h.eventually("the state comes", func() bool { s, _, ok := h.board.State("x"); return ok && s.Generation == 1 })
	h.write("list", "203.0.113.7\n203.0.113.8\n203.0.113.9\n")
	if a := h.command(report.Refresh, "x"); a.Text != "generation 2, 3 entries" {
		t.Errorf("refresh: %+v", a)
	}
	if a := h.command(report.Diff, "x"); !strings.Contains(a.Text, "\n-203.0.113.0/24\n+203.0.113.8/32\n") {
		t.Errorf("diff: %+v", a)
	}
	if a := h.command(report.Accept, "x"); a.Error == "" {
		t.Errorf("accept with nothing held: %+v", a)
	}
	if a := h.command(report.Rollback, "x"); a.Error != "" {
		t.Errorf("rollback: %+v", a)
	}
	if first, n := h.set("x"); n != 2 {
		t.Errorf("after a rollback the set is\n%s", first)
	}

	h.write("paraxiald.yaml", "feeds: [\n")
	h.agent.Process.Signal(syscall.SIGHUP)
	h.await("READY=1")
	h.await("STATUS=1 feeds, 2 entries")
	h.stop()
	if !strings.Contains(h.log.String(), "the previous one stays in force") {
		t.Error("the log does not say that the configuration is invalid")
	}
}

// TestRestart: another agent goes on, and fetches nothing that is not due.
func TestRestart(t *testing.T) {
	h := newHost(t)
	h.write("list", "203.0.113.7\n")
	h.configure("- {name: x, url: " + h.path("list") + ", use: block}")
	h.start()
	h.eventually("the set comes", func() bool { _, n := h.set("x"); return n == 1 })
	h.eventually("the state comes", func() bool { s, _, ok := h.board.State("x"); return ok && s.Generation == 1 })
	second := exec.Command(os.Args[0], "feeds", "--config", h.path("paraxiald.yaml"), "--state-dir", h.path("state"))
	second.Env = append(os.Environ(), asAgent+"=1")
	out, err := second.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is another paraxial-agent running?") {
		t.Errorf("a second agent with the same state: %v\n%s", err, out)
	}
	h.agent.Process.Kill()
	<-h.ended
	os.Remove(h.path("notify.sock"))
	os.Remove(h.path("list"))
	h.start()
	if a := h.command(report.Diff, "x"); a.Text != "generation 0 to 1: 1 added, 0 removed\n+203.0.113.7/32\n" {
		t.Errorf("diff: %+v", a)
	}
	h.stop()
	if s, _, _ := h.board.State("x"); s.Generation != 1 || s.Entries != 1 || s.Error != "" {
		t.Errorf("state %+v", s)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.puts != 1 {
		t.Errorf("%d sets were handed in, want 1", h.puts)
	}
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"version", 0, "paraxial-agent dev", ""},
		{"", 2, "", "name a command: feeds or logs"},
		{"fetch", 2, "", `unknown command "fetch"`},
		{"feeds now", 2, "", `feeds takes no argument, but there is "now"`},
		{"feeds --fast", 2, "", "fast"},
		{"feeds --config " + dir + "/none", 1, "", "none: no such file or directory (name another file with --config)"},
		{"--help", 0, "keep the lists under feeds: fresh", ""},
		{"man", 0, ".SH \"ENVIRONMENT\"", ""},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"paraxial-agent"}, strings.Fields(tt.args)...), &stdout, &stderr)
		if code != tt.code || !strings.Contains(stdout.String(), tt.stdout) ||
			!strings.Contains(stderr.String(), tt.stderr) {
			t.Errorf("%s: exit code %d\n%s%s", tt.args, code, stdout.String(), stderr.String())
		}
	}
}

// TestEveryKeyHasAnEffect: a key of a feed that the agent forgets is of no use.
func TestEveryKeyHasAnEffect(t *testing.T) {
	cfg := config.Config{Feeds: []config.Feed{{Name: "shadow"}}}
	zero := feedOf(cfg, config.Feed{Use: config.UseLimit})
	fields := reflect.TypeFor[config.Feed]()
	for i := range fields.NumField() {
		f := config.Feed{Use: config.UseLimit}
		v := reflect.ValueOf(&f).Elem().Field(i)
		switch v.Kind() {
		case reflect.String:
			v.SetString("shadow")
		case reflect.Int, reflect.Int64:
			v.SetInt(7)
		case reflect.Float64:
			v.SetFloat(7)
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Slice:
			v.Set(reflect.ValueOf([]string{"shadow"}))
		case reflect.Struct:
			f.Limit.PerSecond, f.CrowdSec.URL = 7, "x"
		}
		if feedOf(cfg, f) == zero {
			t.Errorf("%s has no effect", fields.Field(i).Name)
		}
	}
}

// A feed leaves out the prefixes of sets, and the addresses of feeds by their names.
func TestExceptionsOf(t *testing.T) {
	text := "sets: {office: [198.51.100.0/24, 192.0.2.1], b: [203.0.113.1]}\n" +
		"feeds: [{name: c, url: /c, use: block, except: [office, bot, b]}, {name: bot, url: /b, use: tag}, " +
		"{name: nl, url: /n, use: tag}]"
	c, err := config.Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	f := feedOf(c, c.Feeds[0])
	if f.Except != "bot" || f.Exempt != "198.51.100.0/24 192.0.2.1/32 203.0.113.1/32" {
		t.Errorf("except %q, exempt %q", f.Except, f.Exempt)
	}
	// The share of the addresses that a set covers matters only if it has an effect.
	if bot, nl := feedOf(c, c.Feeds[1]).Use, feedOf(c, c.Feeds[2]).Use; bot != "tag" || nl != feeds.Shadow {
		t.Errorf("uses %q and %q", bot, nl)
	}
}

// TestCatalog: each list of the catalogue is a valid feed.
func TestCatalog(t *testing.T) {
	var b bytes.Buffer
	if err := catalog.Write(&b, catalog.Lists()); err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("catalog", b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Feeds) != len(catalog.Lists()) {
		t.Errorf("%d feeds of %d lists", len(c.Feeds), len(catalog.Lists()))
	}
}

func TestSummary(t *testing.T) {
	for _, tt := range []struct {
		states []report.State
		want   string
	}{
		{nil, "no feeds"},
		{[]report.State{{Entries: 5}, {Entries: 2, Held: &report.Held{Operator: true}}}, "2 feeds, 7 entries"},
		{[]report.State{{Held: &report.Held{}, Entries: 3}, {Error: "x"}, {Error: "x", Ended: true}},
			"3 feeds, 3 entries; 1 held; 2 failing; 1 ended"},
	} {
		if got := summary(tt.states); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
