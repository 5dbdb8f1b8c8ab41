package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/paraxial/paraxial/control"
)

// remoteShell runs a command for each client that connects to a port, with the connection as its
// standard input. It is a login server that the daemon does not know by name.
func (s *sshHost) remoteShell(port int, command ...string) (output <-chan string) {
	s.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", sshServer, port))
	if err != nil {
		s.Fatal(err)
	}
	outputs := make(chan string, 1)
	var serving sync.WaitGroup
	serving.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in, err := c.(*net.TCPConn).File()
		if err != nil {
			return
		}
		defer in.Close()
		shell := exec.Command(command[0], command[1:]...)
		shell.Stdin = in
		out, err := shell.CombinedOutput()
		outputs <- fmt.Sprintf("%s%v", out, err)
	})
	s.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return outputs
}

// visit connects to a port, and returns what ends the connection.
func (s *sshHost) visit(port int) (leave func()) {
	s.Helper()
	connection := fmt.Sprintf("exec 3<>/dev/tcp/%s/%d; exec sleep 3600", sshServer, port)
	line := append(slices.Clone(s.client), "bash", "-c", connection)
	visitor := exec.Command(line[0], line[1:]...)
	if err := visitor.Start(); err != nil {
		s.Fatal(err)
	}
	leave = sync.OnceFunc(func() {
		visitor.Process.Kill() // fails only if it has ended
		visitor.Wait()         // it was killed
	})
	s.Cleanup(leave)
	return leave
}

// The session from which a command comes is protected whatever program serves it, if it has a
// terminal. A program without one, such as a web application that blocks its visitors, protects
// nobody.
func TestSessionOfTheCaller(t *testing.T) {
	s := newSSHHost(newHost(t))
	s.start()
	block := fmt.Sprintf("%s --socket %s block 203.0.113.0/24; sleep 3600 & read -r line; kill $!",
		s.daemon.Binaries.Ctl, s.daemon.Socket)
	for _, c := range []struct {
		name    string
		command []string
		spared  int
	}{
		{"terminal", []string{"script", "-qec", block, "/dev/null"}, 1},
		{"none", []string{"setsid", "--wait", "sh", "-c", block}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := 2323 + c.spared
			output := s.remoteShell(port, c.command...)
			leave := s.visit(port)
			s.within("the prefix is blocked", patience, func() bool {
				return ctlJSON[control.WhyResult](s.host, "why", operator).Verdict == "drop"
			})
			want := strings.Repeat(attacker+"/32", c.spared)
			if got := strings.Join(s.spared(), " "); got != want {
				t.Errorf("spared: %q, want %q", got, want)
			}
			s.ctl(0, "unblock", "203.0.113.0/24")
			s.ctl(0, "block", "203.0.113.0/24")
			if got := strings.Join(s.spared(), " "); got != want {
				t.Errorf("blocked again by another caller: spared: %q, want %q", got, want)
			}
			s.ctl(0, "unblock", "203.0.113.0/24")
			leave()
			if said := <-output; strings.Contains(said, attacker+" is spared") != (c.spared == 1) {
				t.Errorf("the command says %s", said)
			}
			s.awaitSpared(0)
			s.ctl(0, "block", attacker) // its process has ended
			s.ctl(0, "unblock", attacker)
		})
	}
}
