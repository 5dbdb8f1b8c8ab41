package hostinfo

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

const (
	sshPort      = 22
	anotherPort  = 2222
	forwarded    = 2299
	sshPatience  = time.Minute
	silentClient = "127.0.0.66"
)

// sshServer starts a real sshd on two ports.
func sshServer(t *testing.T) *lab.SSHServer {
	t.Helper()
	testenv.Root(t)
	if _, err := os.Stat("/usr/sbin/sshd"); err != nil {
		testenv.Missing(t, "needs sshd: install openssh-server and openssh-client")
	}
	loopbackUp(t)
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		check(t, os.Chmod(d, 0o755)) // users that log in read their keys
	}
	s, err := lab.StartSSH(dir, sshPort, anotherPort)
	check(t, err)
	t.Cleanup(func() { s.Stop() }) // fails if the test has stopped it
	return s
}

func client(user, from string, port int) lab.SSHClient {
	return lab.SSHClient{User: user, From: from, To: "127.0.0.1", Port: port}
}

func logIn(ctx context.Context, t *testing.T, s *lab.SSHServer, c lab.SSHClient, options ...string) *lab.SSHSession {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, sshPatience)
	defer cancel()
	session, err := s.Login(ctx, c, options...)
	check(t, err)
	t.Cleanup(func() { check(t, session.Close()) })
	return session
}

func expectPeers(t *testing.T, r *Reader, when string, want ...string) {
	t.Helper()
	var got []string
	for end := time.Now().Add(sshPatience); ; time.Sleep(20 * time.Millisecond) {
		f, err := r.Read(t.Context(), Options{SSHSessions: true})
		check(t, err)
		got = nil
		for _, a := range f.SSHPeers {
			got = append(got, a.String())
		}
		if slices.Equal(got, want) {
			return
		}
		// A session that has ended is seen once its process has ended.
		if time.Now().After(end) || len(got) <= len(want) {
			t.Errorf("%s: peers are %v, want %v", when, got, want)
			return
		}
	}
}

// Peers of authenticated sessions are found on any port, and no other peers.
func TestSSHPeers(t *testing.T) {
	s := sshServer(t)
	r := newReader(t)
	first := logIn(t.Context(), t, s, client("root", "127.0.0.5", sshPort))

	silent := dialFrom(t, silentClient, sshPort)
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), sshPatience)
	defer cancel()
	stop, err := s.Prompt(ctx, client("root", "127.0.0.67", anotherPort))
	check(t, err)
	defer stop()
	expectPeers(t, r, "a session, a silent connection and a password prompt", "127.0.0.5")

	second := logIn(t.Context(), t, s, client("root", "127.0.0.6", anotherPort))
	expectPeers(t, r, "on another port", "127.0.0.5", "127.0.0.6")
	check(t, first.Close())
	expectPeers(t, r, "one session has ended", "127.0.0.6")

	// The sessions outlive the server. A new daemon finds them, too.
	check(t, s.Stop())
	expectPeers(t, r, "the server has ended", "127.0.0.6")
	expectPeers(t, newReader(t), "the server has ended, read for the first time", "127.0.0.6")
	check(t, second.Close())
	expectPeers(t, r, "all sessions have ended")
}

// dialFrom opens a connection that sends nothing.
func dialFrom(t *testing.T, from string, port int) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	check(t, err)
	return c
}

// A session of a user that is not root has a monitor. Peers of connections that a session
// forwards are not peers of the session: otherwise their senders would be immune.
func TestSSHPeersForwarded(t *testing.T) {
	for user, from := range map[string]string{"root": "127.0.0.5", "sync": "127.0.0.6"} {
		t.Run(user, func(t *testing.T) {
			s := sshServer(t)
			if user != "root" {
				allowLogin(t, user)
			}
			options := []string{"-R", fmt.Sprintf("%d:127.0.0.1:%d", forwarded, anotherPort),
				"-o", "ExitOnForwardFailure=yes"}
			logIn(t.Context(), t, s, client(user, from, sshPort), options...)
			c := dialFrom(t, silentClient, forwarded)
			defer c.Close()
			// sshd at the far end of the forwarded connection greets, so all of it is open.
			_, err := c.Read(make([]byte, 1))
			check(t, err)
			var want []string
			want = append(want, from)
			expectPeers(t, newReader(t), "with a forwarded connection", want...)
		})
	}
}

// allowLogin gives a system user a shell, for this test.
func allowLogin(t *testing.T, user string) {
	t.Helper()
	passwd, err := os.ReadFile("/etc/passwd")
	check(t, err)
	var lines []string
	for _, line := range strings.Split(string(passwd), "\n") {
		if fields := strings.Split(line, ":"); fields[0] == user {
			fields[5], fields[6] = "/", "/bin/sh"
			line = strings.Join(fields, ":")
		}
		lines = append(lines, line)
	}
	file := filepath.Join(t.TempDir(), "passwd")
	check(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o644))
	cover(t, file, "/etc/passwd")
}

// A session of dropbear has a child process.
func TestSSHPeersOfDropbear(t *testing.T) {
	if _, err := exec.LookPath("dropbear"); err != nil {
		testenv.Missing(t, "needs dropbear: install dropbear-bin")
	}
	s := sshServer(t)
	dir := t.TempDir()
	check(t, os.Mkdir(filepath.Join(dir, ".ssh"), 0o700))
	check(t, os.Chmod(dir, 0o700))
	key, err := os.ReadFile(s.AuthorizedKeys())
	check(t, err)
	check(t, os.WriteFile(filepath.Join(dir, ".ssh", "authorized_keys"), key, 0o600))
	home, err := os.UserHomeDir()
	check(t, err)
	cover(t, dir, home)
	const port = 2200
	hostKey := filepath.Join(t.TempDir(), "key")
	out, err := exec.Command("dropbearkey", "-t", "ed25519", "-f", hostKey).CombinedOutput()
	if err != nil {
		t.Fatalf("make a key: %v\n%s", err, out)
	}
	cmd := exec.Command("dropbear", "-F", "-r", hostKey, "-p", fmt.Sprint(port))
	check(t, cmd.Start())
	t.Cleanup(func() {
		check(t, cmd.Process.Kill())
		cmd.Wait() // it was killed
	})
	session := logIn(t.Context(), t, s, client("root", "127.0.0.7", port))
	silent := dialFrom(t, silentClient, port)
	defer silent.Close()
	_, err = silent.Read(make([]byte, 1)) // the greeting
	check(t, err)
	r := newReader(t)
	expectPeers(t, r, "a session and a silent connection", "127.0.0.7")
	check(t, session.Close())
	expectPeers(t, r, "the session has ended")
}

// A daemon that does not see all processes says so.
func TestSSHPeersHidden(t *testing.T) {
	testenv.Root(t)
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"other processes are not listed": {map[string]string{"7/comm": "sshd"}, "hidepid="},
		"a process cannot be read": {
			map[string]string{"1/comm": "init", "7/comm/nothing": "a directory"}, "read process 7",
		},
		"descriptors cannot be read": {map[string]string{
			"1/comm": "init", "7/comm": "sshd", "7/cmdline": "sshd: joe@pts/0\x00\x00", "7/fd": "no directory",
			"7/stat": "7 (sshd) S 1 " + strings.Repeat("0 ", 30), "7/status": "Name:\tsshd\nUid:\t0\t0\t0\t0\n",
		}, "CAP_SYS_PTRACE"},
	} {
		t.Run(name, func(t *testing.T) {
			proc := t.TempDir()
			for file, content := range tt.files {
				check(t, os.MkdirAll(filepath.Dir(filepath.Join(proc, file)), 0o755))
				check(t, os.WriteFile(filepath.Join(proc, file), []byte(content), 0o644))
			}
			r := newReader(t)
			r.logins.proc, r.logins.others.genuine = proc, anyProgram
			_, err := r.Read(t.Context(), Options{SSHSessions: true})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestLoggedIn(t *testing.T) {
	const start = 1
	root := process{pid: 10, parent: 1, root: true, name: openSSH, title: "sshd: joe [priv]", start: start}
	for _, tt := range []struct {
		p    process
		want bool
	}{
		{process{root: true, name: openSSH, title: "sshd: root@pts/0"}, true},
		{process{root: true, name: openSSH, title: "sshd: root@pts/0,pts/1"}, true},
		{process{root: true, name: openSSH, title: "sshd: root"}, true},
		{process{root: true, name: openSSHSession, title: "sshd-session: root@notty"}, true},
		{process{parent: 10, name: openSSH, title: "sshd: joe@pts/0"}, true},
		{process{parent: 10, name: openSSH, title: `sshd: EXAMPLE\joe doe@notty`}, true},
		{root, false},
		{process{parent: 10, name: openSSH, title: "sshd: joe [net]"}, false},
		{process{root: true, name: openSSH, title: "sshd: unknown [priv]"}, false},
		{process{root: true, name: openSSH, title: "sshd: [accepted]"}, false},
		{process{root: true, name: openSSH, title: "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"}, false},
		{process{root: true, name: openSSH, title: "/usr/sbin/sshd -D -R"}, false},
		{process{root: true, name: openSSH, title: "sshd: "}, false},
		{process{parent: 99, name: openSSH, title: "sshd: joe@pts/0"}, false}, // started by a user
		{process{root: true, name: dropbear, children: true}, true},
		{process{root: true, name: dropbear}, false},
		{process{name: dropbear, children: true}, false},
	} {
		if got := tt.p.loggedIn(map[int]process{root.pid: root}); got != tt.want {
			t.Errorf("%+v: %v", tt.p, got)
		}
	}
}

func BenchmarkSSHPeers(b *testing.B) {
	l := logins{proc: "/proc"}
	for b.Loop() {
		if _, err := l.peers(); err != nil {
			b.Fatal(err)
		}
	}
}
