package hostinfo

import (
	"fmt"
	"math"
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

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/testenv"
)

// The terminal server is the first ancestor without a terminal. Numbers of processes that were
// given to another process lead nowhere.
func TestTerminalServer(t *testing.T) {
	type stat struct{ parent, start, terminal int }
	const late = 100
	shell := stat{20, 60, 34816}
	sshd := stat{1, 50, 0}
	chain := func(length int) map[int]stat {
		all := map[int]stat{20: sshd, 30: shell}
		for i := range length {
			all[100+i] = stat{101 + i, 90, 34817}
		}
		all[100+length] = stat{20, 60, 34817}
		return all
	}
	for _, tt := range []struct {
		name  string
		procs map[int]stat
		pid   int
		want  int
	}{
		{"a shell", map[int]stat{20: sshd, 30: shell}, 30, 20},
		{"sudo with another terminal", map[int]stat{20: sshd, 30: shell, 40: {30, 70, 34816}, 50: {40, 80, 34817}}, 50,
			20},
		{"no terminal", map[int]stat{20: sshd, 30: {20, 60, 0}}, 30, 0},
		{"a connection and no terminal", map[int]stat{20: sshd}, 20, 0},
		{"started after the connection", map[int]stat{20: sshd, 30: {20, late + 1, 34816}}, 30, 0},
		{"started with the connection", map[int]stat{20: sshd, 30: {20, late, 34816}}, 30, 20},
		{"the parent is younger", map[int]stat{20: {1, 61, 0}, 30: shell}, 30, 0},
		{"the parent has ended", map[int]stat{30: shell}, 30, 0},
		{"adopted by init", map[int]stat{1: {0, 0, 0}, 30: {1, 60, 34816}}, 30, 0},
		{"the caller has ended", nil, 30, 0},
		{"in another namespace of processes", nil, 0, 0},
		{"as many ancestors as allowed", chain(maxAncestors - 2), 100, 20},
		{"one ancestor too many", chain(maxAncestors - 1), 100, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := logins{proc: t.TempDir()}
			for pid, s := range tt.procs {
				dir := filepath.Join(l.proc, fmt.Sprint(pid))
				check(t, os.Mkdir(dir, 0o755))
				line := fmt.Sprintf("%d (a b) c) S %d 0 0 %d %s%d 0", pid, s.parent, s.terminal,
					strings.Repeat("0 ", 14), s.start)
				check(t, os.WriteFile(filepath.Join(dir, "stat"), []byte(line), 0o644))
			}
			got, ok, err := l.terminalServerOf(tt.pid, late)
			if err != nil || ok != (tt.want != 0) || ok && got.pid != tt.want {
				t.Errorf("process %d: %+v, %v, %v; want %d", tt.pid, got, ok, err, tt.want)
			}
		})
	}
}

// A terminal server with connections of several peers protects none of them: anyone may open one.
// A child of the server is the caller.
func TestTerminalPeers(t *testing.T) {
	loopbackUp(t)
	if _, err := exec.LookPath("script"); err != nil {
		testenv.Missing(t, "needs script: install bsdutils")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:2320")
	check(t, err)
	defer l.Close()
	one := netip.MustParseAddr("127.0.0.41")
	for name, tt := range map[string]struct {
		clients []string
		want    []netip.Addr
	}{
		"none":             {nil, nil},
		"one":              {[]string{"127.0.0.41"}, []netip.Addr{one}},
		"one, twice":       {[]string{"127.0.0.41", "127.0.0.41"}, []netip.Addr{one}},
		"of several peers": {[]string{"127.0.0.41", "127.0.0.66"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReader(t)
			child := startTerminal(t, l, tt.clients)
			peer, err := r.CallerPeer(child, now(t))
			check(t, err)
			all, err := r.TerminalPeers()
			check(t, err)
			if !slices.Equal(all, tt.want) {
				t.Errorf("the peers of terminals are %v, want %v", all, tt.want)
			}
			if peer.IsValid() != (len(tt.want) > 0) || peer.IsValid() && peer != tt.want[0] {
				t.Errorf("the peer of the caller is %v, want %v", peer, tt.want)
			}
			server, _, err := r.logins.terminalServerOf(child, math.MaxUint64)
			check(t, err)
			r.logins.known = map[login][]netip.Addr{server: {one}}
			if peer, err = r.CallerPeer(child, now(t)); err != nil || peer.IsValid() {
				t.Errorf("the peer is known as an SSH peer: %v, %v", peer, err)
			}
			if peer, err = r.CallerPeer(child, 0); err != nil || peer.IsValid() {
				t.Errorf("the caller connected before the process started: %v, %v", peer, err)
			}
		})
	}
}

func now(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	check(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts))
	return time.Duration(ts.Nano())
}

// startTerminal starts a terminal server that has connections, and returns the process in its
// terminal.
func startTerminal(t *testing.T, l net.Listener, clients []string) (child int) {
	t.Helper()
	cmd := exec.Command("script", "-qfec", "exec cat", "/dev/null")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	input, err := cmd.StdinPipe()
	check(t, err)
	t.Cleanup(func() { input.Close() })
	for _, from := range clients {
		client := dialFrom(t, from, l.Addr().(*net.TCPAddr).Port)
		t.Cleanup(func() { client.Close() })
		c, err := l.Accept()
		check(t, err)
		file, err := c.(*net.TCPConn).File()
		check(t, err)
		c.Close()
		defer file.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	check(t, cmd.Start())
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // fails only if it has ended
		cmd.Wait()                                      // it was killed
	})
	children := fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid)
	r := newReader(t)
	for end := time.Now().Add(sshPatience); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(children)
		check(t, err)
		if _, err := fmt.Sscan(string(text), &child); err == nil {
			if s, err := readStat(r.logins.proc, child); err == nil && s.terminal {
				return child
			}
		}
		if time.Now().After(end) {
			t.Fatal("script has given no terminal to its child")
		}
	}
}
