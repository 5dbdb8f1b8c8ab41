package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/report"
)

const (
	reportSocket  = "/run/paraxial/report.sock"
	reporterChild = "PARAXIAL_TEST_REPORTER"
	reporterUID   = nobody
	strangerUID   = 61234
)

// reported is what the child of a test prints about its request.
type reported struct {
	Result report.Result
	Code   string // of the error, or its text
}

// runReporter is a reporter in a process of its own. Its arguments are a command, a set, a
// generation and whether it accepts. The entries come from stdin.
func runReporter(args string) int {
	var command, name string
	var set report.Set
	if _, err := fmt.Sscan(args, &command, &name, &set.Generation, &set.Accept); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	set.Name, set.Entries = name, stdinEntries
	c, ctx := report.NewClient(reportSocket), context.Background()
	var out reported
	var err error
	switch command {
	case "put":
		out.Result, err = c.Put(ctx, set)
	case "renew":
		err = c.Renew(ctx, name, set.Generation)
	case "change":
		out.Result, err = c.Change(ctx, stdinChanges(name, set.Generation))
	case "agent":
		out.Result, err = carryOut(ctx, c, set)
	}
	if e, ok := errors.AsType[*report.Error](err); ok {
		out.Code = e.Code
	} else if err != nil {
		out.Code = err.Error()
	}
	json.NewEncoder(os.Stdout).Encode(out)
	return 0
}

// carryOut tells of a feed, waits for one command and carries it out.
func carryOut(ctx context.Context, c *report.Client, set report.Set) (report.Result, error) {
	held := report.State{Name: set.Name, Held: &report.Held{Generation: set.Generation, Reason: "it grows"}}
	if err := c.Report(ctx, []report.State{held}); err != nil {
		return report.Result{}, err
	}
	for {
		command, ok, err := c.Command(ctx)
		if err != nil {
			return report.Result{}, err
		}
		if !ok {
			continue
		}
		set.Accept = command.Verb == report.Accept
		result, err := c.Put(ctx, set)
		return result, errors.Join(err, c.Answer(ctx, command.ID, report.Answer{Text: "did " + string(command.Verb)}))
	}
}

// stdinEntries yields entries from the lines PREFIX [SECONDS].
func stdinEntries(yield func(report.Entry, error) bool) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		prefix, seconds, _ := strings.Cut(lines.Text(), " ")
		p, err := netip.ParsePrefix(prefix)
		n, _ := strconv.Atoi(seconds)
		if !yield(report.Entry{Prefix: p, For: time.Duration(n) * time.Second}, err) {
			return
		}
	}
}

// reporter returns the command that runs a reporter as a user.
func (h *host) reporter(uid uint32, list io.Reader, args string) *exec.Cmd {
	h.Helper()
	exe, err := os.Open("/proc/self/exe") // the build directory may be closed to others
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { exe.Close() })
	cmd := exec.CommandContext(h.Context(), "/proc/self/fd/3")
	cmd.ExtraFiles, cmd.Dir, cmd.Stdin = []*os.File{exe}, "/", list
	cmd.Env = []string{reporterChild + "=" + args}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return cmd
}

// hand runs a reporter and returns what it got.
func (h *host) hand(uid uint32, list, args string) reported {
	h.Helper()
	cmd := h.reporter(uid, strings.NewReader(list), args)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var r reported
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		h.Fatalf("reporter %s: %v\n%s%s", args, err, out, stderr.String())
	}
	return r
}

// newReportingHost returns a host with the feeds a (block), b (allow) and c, of which the
// reporter may hand in a and b.
func newReportingHost(t *testing.T, ttl string) *host {
	t.Helper()
	h := newHost(t)
	h.configured(fmt.Sprintf(`
interfaces: [up0]
metrics: off
feeds:
- {name: a, url: /a, use: block, every: 1s, ttl: %s, max_entries: 1000}
- {name: b, url: /b, use: allow, every: 1s, ttl: %s}
- {name: c, url: /c, use: block}
reports: {reporters: [{name: agent, user: "65534", sets: [a, b, d]}]}
`, ttl, ttl))
	h.start()
	return h
}

// entriesOf returns the entries of an origin as "prefix kind action author".
func (h *host) entriesOf(origin string) (lines []string) {
	h.Helper()
	err := h.client().Entries(h.Context(), "", origin, func(e control.Entry) error {
		lines = append(lines, strings.Join([]string{e.Prefix, e.Kind, e.Action, e.Author}, " "))
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	return lines
}

func expectEqual(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// someHosts returns n lines with addresses of 203.0.113.0/24 and the networks after it.
func someHosts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "203.0.%d.%d/32\n", 113+i/256, i%256)
	}
	return b.String()
}

// A reporter may hand in the sets that are named for it, and do nothing else. What a set does
// follows from the configuration.
func TestReporterRights(t *testing.T) {
	h := newReportingHost(t, "1h")
	server := h.serve()
	r := h.hand(reporterUID, "203.0.113.1/32\n203.0.113.2/32 99999999\n", "put a 1 false")
	expectEqual(t, "a set of its own", r.Code+fmt.Sprint(r.Result.Added), "2")
	if !h.dropped(server, "203.0.113.1") {
		t.Error("a set that was handed in is not enforced")
	}
	a := []string{"203.0.113.1/32 block drop reporter:agent", "203.0.113.2/32 block drop reporter:agent"}
	expectEqual(t, "entries", h.entriesOf("feed:a"), a)
	for _, o := range ctlJSON[control.OriginsResult](h, "origins").Origins {
		left := time.Until(*o.LastExpiry)
		if o.Origin != "feed:a" || o.Generation != 1 || left > time.Hour+time.Minute {
			t.Errorf("origin %+v: want a generation, and no entry longer than the ttl", o)
		}
	}

	r = h.hand(reporterUID, "203.0.113.1/32\n", "put b 1 false")
	expectEqual(t, "a set of allows", r.Code+fmt.Sprint(r.Result.Added), "1")
	expectEqual(t, "allows", h.entriesOf("feed:b"), []string{"203.0.113.1/32 allow  reporter:agent"})
	if h.dropped(server, "203.0.113.1") {
		t.Error("a set of allows has no effect")
	}

	for args, want := range map[string]string{
		"put c 1 false":   report.CodeForbidden, // a feed of somebody else
		"put d 1 false":   report.CodeForbidden, // no feed
		"put cli 1 false": report.CodeForbidden,
		"renew c 1 false": report.CodeForbidden,
		"renew a 2 false": report.CodeUnknown,
		"renew a 1 false": "",
	} {
		expectEqual(t, args, h.hand(reporterUID, "203.0.113.9/32\n", args).Code, want)
	}
	for _, uid := range []uint32{strangerUID, 0} {
		for _, args := range []string{"put a 2 false", "renew a 1 false", "agent a 1 false"} {
			got := h.hand(uid, "203.0.113.9/32\n", args).Code
			expectEqual(t, fmt.Sprint(args, " by uid ", uid), got, report.CodeForbidden)
		}
	}
	out := h.as(nil, h.daemon.Ctl, "block", "203.0.113.7")
	if out.Code == 0 || !strings.Contains(out.Stderr, "permission denied") {
		t.Errorf("the reporter on the control socket: %d, %s", out.Code, out.Stderr)
	}
	expectEqual(t, "entries after all that", h.entriesOf("feed:a"), a)
	expectEqual(t, "all entries", len(h.entriesOf("")), 3)
}

// The guard and the bounds hold against a reporter. Only an operator can accept a change
// beyond the bounds.
func TestReporterIsGuarded(t *testing.T) {
	h := newReportingHost(t, "1h")
	r := h.hand(reporterUID, "127.0.0.1/32\n0.0.0.0/0\n203.0.113.1/32\n", "put a 1 true")
	expectEqual(t, "protected prefixes", fmt.Sprint(r.Code, r.Result.Added, r.Result.Refused), "1 2")
	expectEqual(t, "a long set", h.hand(reporterUID, someHosts(1001), "put a 2 true").Code, control.CodeTooLarge)
	r = h.hand(reporterUID, someHosts(200), "put a 2 false")
	expectEqual(t, "a small set grows freely", fmt.Sprint(r.Code, r.Result.Added, r.Result.Held), "199")

	for _, args := range []string{"put a 3 false", "put a 3 true"} {
		r = h.hand(reporterUID, someHosts(900), args)
		if r.Result.Held == "" || r.Code != "" {
			t.Errorf("%s of a set that grows: %+v", args, r)
		}
	}
	expectEqual(t, "an empty set", h.hand(reporterUID, "", "put a 3 true").Result.Held != "", true)
	expectEqual(t, "entries of a held set", len(h.entriesOf("feed:a")), 200)

	agent := h.reporter(reporterUID, strings.NewReader(someHosts(900)), "agent a 3 false")
	var out bytes.Buffer
	agent.Stdout = &out
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	h.waitFor("the agent", func() bool { return h.feed("a").Condition == control.FeedHeld })
	if s := h.ctl(1, "status", "--check"); !strings.Contains(s.Stdout, "the feed a is held: it grows") {
		t.Errorf("status --check: %s", s.Stdout)
	}
	expectEqual(t, "accept", strings.TrimSpace(h.ctl(0, "feeds", "accept", "a").Stdout), "did accept")
	if err := agent.Wait(); err != nil {
		t.Fatal(err)
	}
	expectEqual(t, "entries of an accepted set", len(h.entriesOf("feed:a")), 900)
	if r := h.hand(reporterUID, someHosts(1), "put a 4 true"); r.Result.Held == "" {
		t.Error("the word of the operator holds for a second change")
	}
}

func (h *host) feed(name string) control.FeedStatus {
	h.Helper()
	for _, f := range ctlJSON[control.FeedsStatus](h, "feeds").Feeds {
		if f.Name == name {
			return f
		}
	}
	h.Fatalf("there is no feed %s", name)
	panic("not reached")
}

func (h *host) waitFor(what string, done func() bool) {
	h.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.Fatalf("waited in vain for %s", what)
		}
	}
}

// A set ends with its ttl, unless it is renewed.
func TestSetEnds(t *testing.T) {
	h := newReportingHost(t, "3s")
	expectEqual(t, "put", h.hand(reporterUID, "203.0.113.1/32\n", "put a 1 false").Code, "")
	first := ctlJSON[control.OriginsResult](h, "origins").Origins
	h.waitFor("the end of the set", func() bool { return len(h.entriesOf("feed:a")) == 0 })
	if len(first) != 1 || time.Now().Before(first[0].LastExpiry.Add(-time.Second)) {
		t.Errorf("the set has ended before %+v", first)
	}
	expectEqual(t, "renew of a set that has ended", h.hand(reporterUID, "", "renew a 1 false").Code, report.CodeUnknown)
}

// Sets outlive the daemon. After its restart the reporter has to put them again, which
// changes nothing.
func TestSetOutlivesTheDaemon(t *testing.T) {
	h := newReportingHost(t, "1h")
	expectEqual(t, "put", h.hand(reporterUID, someHosts(150), "put a 1 false").Code, "")
	h.kill()
	h.start()
	expectEqual(t, "entries after a restart", len(h.entriesOf("feed:a")), 150)
	expectEqual(t, "renew", h.hand(reporterUID, "", "renew a 1 false").Code, report.CodeUnknown)
	r := h.hand(reporterUID, someHosts(150), "put a 1 false")
	expectEqual(t, "put again", fmt.Sprint(r.Code, r.Result.Added, r.Result.Removed, r.Result.Unchanged), "0 0 150")
	before := ctlJSON[control.OriginsResult](h, "origins").Origins[0].LastExpiry
	h.waitFor("a later end", func() bool {
		expectEqual(t, "renew", h.hand(reporterUID, "", "renew a 1 false").Code, "")
		return ctlJSON[control.OriginsResult](h, "origins").Origins[0].LastExpiry.After(*before)
	})
	expectEqual(t, "entries after a renewal", len(h.entriesOf("feed:a")), 150)
}

// A reporter that is killed while it hands in a set leaves the old or the new set.
func TestReporterIsKilled(t *testing.T) {
	h := newReportingHost(t, "1h")
	before := someHosts(300)
	expectEqual(t, "put", h.hand(reporterUID, before, "put a 1 false").Code, "")
	old := h.entriesOf("feed:a")
	for _, lines := range []int{1, 20_000} { // the client sends 64 KiB at a time
		list, w := io.Pipe()
		cmd := h.reporter(reporterUID, list, "put a 2 false")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for i := range lines {
			fmt.Fprintf(w, "198.51.100.%d/32\n", i%200)
		}
		h.waitFor("the reporter", func() bool { // its connection is there
			sockets, err := os.ReadFile("/proc/net/unix")
			return err == nil && strings.Count(string(sockets), reportSocket) >= 2
		})
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		cmd.Wait()
		h.waitFor("the end of the request", func() bool {
			sockets, err := os.ReadFile("/proc/net/unix")
			return err == nil && strings.Count(string(sockets), reportSocket) == 1
		})
		expectEqual(t, fmt.Sprint("the set after a kill with ", lines, " lines"), h.entriesOf("feed:a"), old)
	}
	// The next set is taken: nothing waits for the dead one.
	expectEqual(t, "put", h.hand(reporterUID, someHosts(301), "put a 3 false").Code, "")
}

// fillReportSocket opens more connections than a user may have, of which the daemon closes the surplus.
func (h *host) fillReportSocket(uid int) {
	h.Helper()
	const opened, most = 100, 32
	var all []net.Conn
	for range opened {
		c, err := dialAs(uid, nil, "unix", reportSocket)
		check(h.T, err)
		h.Cleanup(func() { c.Close() })
		all = append(all, c)
	}
	h.waitFor("the end of the surplus connections", func() bool { return served(h.T, all) >= opened-most })
	expectEqual(h.T, fmt.Sprint("connections of uid ", uid), opened-served(h.T, all), most)
}

// Storms of strangers and of the reporter itself keep neither the operator nor the reporter
// out.
func TestReportStorm(t *testing.T) {
	h := newReportingHost(t, "1h")
	ctx, stop := context.WithCancel(t.Context())
	var storm sync.WaitGroup
	for _, uid := range []int{0, reporterUID} { // root is a stranger here
		h.fillReportSocket(uid)
	}
	for _, uid := range []uint32{strangerUID, reporterUID} {
		for range 6 {
			storm.Go(func() {
				for ctx.Err() == nil {
					list, w := io.Pipe() // a set that never ends
					cmd := h.reporter(uid, list, "put b 1 false")
					if cmd.Start() != nil {
						return
					}
					select {
					case <-ctx.Done():
					case <-time.After(500 * time.Millisecond):
					}
					cmd.Process.Kill()
					w.Close()
					cmd.Wait()
				}
			})
		}
	}
	for n := range 5 {
		h.ctl(0, "status")
		r := h.hand(reporterUID, someHosts(n+1), fmt.Sprintf("put a %d false", n))
		expectEqual(t, "put", r.Code, "")
	}
	stop()
	storm.Wait()
	expectEqual(t, "entries", len(h.entriesOf("feed:a")), 5)
}

// The socket is there only while the configuration has reporters, and status tells if they
// are gone.
func TestReportSocket(t *testing.T) {
	h := newHost(t)
	os.Remove(reportSocket) // of a daemon that was killed
	file := h.configured("interfaces: [up0]\nmetrics: off\n")
	h.start()
	there := func() bool { _, err := os.Stat(reportSocket); return err == nil }
	expectEqual(t, "the socket without reporters", there(), false)
	h.ctl(0, "status", "--check")
	write := func(content string) {
		writeConfig(h.T, file, content)
		if err := h.run.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	write("interfaces: [up0]\nmetrics: off\nfeeds: [{name: a, url: /a, use: block}]\n" +
		"reports: {reporters: [{name: agent, user: \"65534\", sets: [\"*\"]}]}\n")
	h.waitFor("the socket", there)
	expectEqual(t, "put", h.hand(reporterUID, someHosts(1), "put a 1 false").Code, "")
	write("interfaces: [up0]\nmetrics: off\n")
	h.waitFor("the end of the socket", func() bool { return !there() })
	expectEqual(t, "entries of a feed that was removed", len(h.entriesOf("feed:a")), 1)
}
