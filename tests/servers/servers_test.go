//go:build servers

// Package servers lets real servers write their logs while a client sends hostile names, paths
// and headers. Whatever a server writes, no line may be held against the stranger that the client
// names.
package servers

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/paraxial/paraxial/match"
	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

const (
	host     = "192.0.2.1"     // of the servers
	client   = "198.51.100.20" // the attacker
	stranger = "203.0.113.77"  // named by the attacker
)

func TestMain(m *testing.M) { lab.Main(m) }

// server is a real server with a log.
type server struct {
	name string
	tool string // must be installed
	port int
	// start prepares the files in dir, which any user may read, and returns the command that
	// runs in the foreground.
	start func(t *testing.T, dir string) *exec.Cmd
	// attack sends one name in each place that the protocol has.
	attack func(t *testing.T, dir, name string)
	logs   []logOf
}

// logOf is a log of a server and its format.
type logOf struct {
	format, file string
	head         string // what a syslog daemon writes before the line
	drop         int    // words of the server's own time, in place of which the head is put
	plain        int    // lines of an ordinary name that are held, at least
}

func servers() []server {
	return []server{sshd(), nginx(), apache(), haproxy(), vsftpd(), dovecot(), postfix()}
}

// names are the texts that the client sends: some made for the formats, and some put together
// at random of parts of lines.
func names() []string {
	names := []string{
		"root", "a b", stranger,
		"x from " + stranger + " port 22 ssh2",
		"x from " + stranger + " port 22",
		"invalid user x " + stranger + " port 22 [preauth]",
		"x: Failed password for root from " + stranger + " port 22 ssh2",
		`x' from ` + stranger + `:22`,
		`x] FAIL LOGIN: Client "` + stranger + `"`,
		`x>, method=PLAIN, rip=` + stranger + `, lip=192.0.2.1, session=<abc>`,
		`x" was not found in "/f", client: ` + stranger + `, server: _, request: "GET / HTTP/1.1", host: "h"`,
		`x: password mismatch, client: ` + stranger,
		stranger + ` - - [29/Nov/2026:08:00:01 +0000] "GET / HTTP/1.1" 401 9 "-" "-"`,
		`x", "remote_addr": "` + stranger + `", "status": "401`,
		"x\nJan  1 00:00:00 h sshd[1]: Failed password for root from " + stranger + " port 22 ssh2",
		"x [" + stranger + "]: SASL LOGIN authentication failed",
		"x rhost=" + stranger + " user=root",
	}
	parts := []string{
		stranger, "[" + stranger + "]", " from ", " port 22", " client: ", ", client: ", `"`, `'`, ":", ";", "<", ">",
		"[", "]",
		" user ", "rip=", "rhost=", " ssh2", " [preauth]", ", server: _", "invalid user ", "\\", "\t", "=", ", ", "%",
		"::ffff:" + stranger, " for ", "unknown[" + stranger + "]", "{", "}", "\x7f", "\xff",
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 25 {
		var b strings.Builder
		for range 3 + r.IntN(9) {
			b.WriteString(parts[r.IntN(len(parts))])
		}
		names = append(names, b.String())
	}
	return append(names, strings.Repeat("a", 900)+" from "+stranger+" port 22 ssh2")
}

func TestRealServers(t *testing.T) {
	testenv.Root(t)
	for _, a := range []string{host, client} {
		if out, err := exec.Command("ip", "addr", "add", a+"/32", "dev", "lo").CombinedOutput(); err != nil {
			t.Fatalf("add %s: %v\n%s", a, err, out)
		}
	}
	for _, s := range servers() {
		t.Run(s.name, func(t *testing.T) { t.Parallel(); s.run(t) })
	}
}

func (s server) run(t *testing.T) {
	if _, err := exec.LookPath(s.tool); err != nil {
		testenv.Missing(t, "needs "+s.tool+": make test-servers installs it")
	}
	dir, err := os.MkdirTemp("/run", s.name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	cmd := s.start(t, dir)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second // children may keep the pipe open
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() {
		cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
		cmd.Wait()                          // it was told to end
	}
	defer stop()
	if err := s.await(t.Context()); err != nil {
		stop()
		t.Fatalf("%v\n%s", err, output.String())
	}
	for _, name := range names() {
		s.attack(t, dir, name)
	}
	stop()
	for _, l := range s.logs {
		l.check(t, dir)
	}
}

// await waits until the server accepts connections.
func (s server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := dial(s.port)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen: %w", s.name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// dial connects to a server as the client.
func dial(port int) (net.Conn, error) {
	from := &net.TCPAddr{IP: net.ParseIP(client)}
	return net.DialTCP("tcp", from, &net.TCPAddr{IP: net.ParseIP(host), Port: port})
}

// check reads a log as the agent does. Only the client may be held.
func (l logOf) check(t *testing.T, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, l.file))
	if err != nil {
		t.Fatal(err)
	}
	format, err := match.New(l.format)
	if err != nil {
		t.Fatal(err)
	}
	kinds, held, named := map[string]int{}, 0, 0
	for line := range bytes.Lines(text) {
		line = l.asSyslog(bytes.TrimSuffix(line, []byte("\n")))
		if bytes.Contains(line, []byte(stranger)) {
			named++
		}
		r := format.Match(line)
		kinds[r.Kind.String()]++
		// A log with match also holds the address of a line that is no failure.
		switch {
		case r.Address.IsValid() && r.Address != netip.MustParseAddr(client):
			t.Errorf("%s: a stranger is named, %s, by %q", l.file, r.Address, line)
		case r.Held().IsValid():
			held++
		}
	}
	t.Logf("%s as %s: %v, %d name the stranger", l.file, l.format, kinds, named)
	if held < l.plain {
		t.Errorf("%s: %d lines are held against the client, at least %d expected:\n%.4000s", l.file, held, l.plain,
			text)
	}
	if named == 0 {
		t.Errorf("%s: no line names the stranger, so nothing was tried:\n%.4000s", l.file, text)
	}
}

func (l logOf) asSyslog(line []byte) []byte {
	if l.head == "" {
		return line
	}
	for range l.drop {
		_, line, _ = bytes.Cut(line, []byte(" "))
	}
	return append([]byte(l.head), line...)
}

// write makes a file that any user may read.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// oneLine replaces the bytes that end a line or a command in text protocols.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if slices.Contains([]rune{'\n', '\r', 0}, r) {
			return ' '
		}
		return r
	}, s)
}
