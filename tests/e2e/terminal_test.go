package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

const shellPort = 2323

// shellServer is a server like telnetd: it starts a program for each connection, which has the
// connection as its input and output. It asks for no password.
type shellServer struct {
	*sshHost
	user    uint32
	program []string
}

// inTerminal gives the shell a terminal of its own. On a shell without a terminal it is like a web
// application that calls paraxialctl.
var inTerminal = []string{"script", "-qfec", "exec sh", "/dev/null"}

// remoteShell is the other end of a connection to a shellServer.
type remoteShell struct {
	*sshHost
	input  io.Writer
	output *bufio.Reader
	end    func()
	runs   int
}

// connect serves one connection from an address.
func (s shellServer) connect(address string) *remoteShell {
	s.Helper()
	if _, err := exec.LookPath("script"); err != nil {
		testenv.Missing(s.T, "needs script: install bsdutils")
	}
	l, err := net.Listen("tcp4", fmt.Sprintf("%s:%d", sshServer, shellPort))
	if err != nil {
		s.Fatal(err)
	}
	s.shell("ip route replace "+sshServer+" dev client src "+address, s.client...)
	line := append(slices.Clone(s.client), "bash", "-c",
		fmt.Sprintf("exec 3<>/dev/tcp/%s/%d; cat <&3 & exec cat >&3", sshServer, shellPort))
	client := exec.Command(line[0], line[1:]...)
	input, err1 := client.StdinPipe()
	output, err2 := client.StdoutPipe()
	if err1 != nil || err2 != nil {
		s.Fatal(err1, err2)
	}
	if err := client.Start(); err != nil {
		s.Fatal(err)
	}
	server, err := s.serve1(l)
	if err != nil {
		s.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		syscall.Kill(-server.Process.Pid, syscall.SIGKILL) // fails only if it has ended
		server.Wait()                                      // it was killed
		input.Close()
		client.Process.Kill() // fails only if it has ended
		client.Wait()         // it was killed
		l.Close()
	})
	s.Cleanup(end)
	return &remoteShell{s.sshHost, input, bufio.NewReader(output), end, 0}
}

// serve1 starts the program for one connection.
func (s shellServer) serve1(l net.Listener) (*exec.Cmd, error) {
	c, err := l.Accept()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	connection, err := c.(*net.TCPConn).File()
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	cmd := exec.Command(s.program[0], s.program[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = connection, connection, connection
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: s.user, Gid: s.user}}
	return cmd, cmd.Start()
}

// run runs a command in the shell and returns its exit code and output.
func (r *remoteShell) run(command string) (code int, output string) {
	r.Helper()
	r.runs++
	cutOff := time.AfterFunc(patience, r.end) // the output then ends
	defer cutOff.Stop()
	end := fmt.Sprintf("end-%d:", r.runs)
	// The terminal echoes the command, which must not look like its end.
	if _, err := fmt.Fprintf(r.input, "%s; echo en\"\"d-%d:$?\n", command, r.runs); err != nil {
		r.Fatal(err)
	}
	for {
		line, err := r.output.ReadString('\n')
		output += line
		if _, after, ok := strings.Cut(line, end); ok {
			if _, err := fmt.Sscan(after, &code); err != nil {
				r.Fatal(err)
			}
			return code, output
		}
		if err != nil {
			r.Fatalf("%s: %v\n%s", command, err, output)
		}
	}
}

// ctlLine is a command line of paraxialctl.
func (h *host) ctlLine(args string) string {
	return h.daemon.Binaries.Ctl + " --socket " + h.daemon.Socket + " " + args
}

// A caller at a terminal is not cut off, also if the connection is to a program that is no known
// SSH server, and through programs like sudo that make another terminal.
func TestTerminalOfTheCallerIsSpared(t *testing.T) {
	s := newSSHHost(newHost(t))
	s.start()
	server := s.serve()
	shell := shellServer{s, 0, inTerminal}.connect(operator)
	for name, within := range map[string]string{
		"shell": "%s", "a terminal inside the terminal": "script -qfec '%s' /dev/null",
		"su": "su root -s /bin/sh -c '%s'",
	} {
		code, out := shell.run(fmt.Sprintf(within, s.ctlLine("block "+operator)))
		if code != 1 || !strings.Contains(out, "from where you are connected to this host") {
			t.Errorf("%s: exit code %d: %s", name, code, out)
		}
	}
	other := s.logIn(attacker, sshPort)
	code, out := shell.run(s.ctlLine("block 203.0.113.0/24 --dry-run"))
	if code != 0 || !strings.Contains(out, operator+" would be spared") {
		t.Errorf("dry run: exit code %d: %s", code, out)
	}
	if code, out = shell.run(s.ctlLine("block 203.0.113.0/24")); code != 0 ||
		!strings.Contains(out, operator+" is spared") {
		t.Errorf("block: exit code %d: %s", code, out)
	}
	s.kill() // the allow is saved, and the next daemon finds the terminal again
	s.start()
	other.Close()
	s.awaitSpared(1) // the daemon has removed the allow of the other session, and kept this one
	if !s.dropped(server, attacker) || s.dropped(server, operator) {
		t.Error("the prefix is not blocked, or the terminal's address is")
	}
	list := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(list, []byte("203.0.113.0/24\n"+operator+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out = shell.run(s.ctlLine("import --origin list " + list)); code != 0 || !strings.Contains(out, operator) {
		t.Errorf("import: exit code %d: %s", code, out)
	}
	if got := ctlJSON[[]control.Entry](s.host, "list", "blocks", "--origin", "list"); len(got) != 1 {
		t.Errorf("imported: %+v", got)
	}
	shell.end()
	s.awaitSpared(0)
	if !s.dropped(server, operator) {
		t.Error("the terminal is closed, and its address still passes")
	}
}

// A real SSH server under another name, on another port, is no program that the daemon knows.
func TestUnknownSSHServerOfTheCaller(t *testing.T) {
	s := newSSHHost(newHost(t))
	s.start()
	const port = 2424
	program := filepath.Join(t.TempDir(), "opssh")
	if err := os.Symlink("/usr/sbin/sshd", program); err != nil {
		t.Fatal(err)
	}
	unknown, err := lab.StartSSHProgram(program, readable(t), port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unknown.End(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	session, err := unknown.Login(ctx, s.from(attacker, port)) // until it listens
	if err != nil {
		t.Fatal(err)
	}
	session.Close()
	for _, within := range []string{"%s", "script -qfec '%s' /dev/null"} {
		out, err := unknown.Terminal(ctx, s.from(operator, port), fmt.Sprintf(within, s.ctlLine("block "+operator)))
		if err == nil || !strings.Contains(out, "from where you are connected to this host") {
			t.Errorf("%s: %v: %s", within, err, out)
		}
	}
	// Without a terminal nothing tells the shell of a person from a program that serves requests.
	s.ctl(0, "block", operator)
	s.ctl(0, "unblock", operator)
}

// A terminal protects nobody but its own caller. So a user without rights protects no address from
// root, and a program that serves requests can block those who send them.
func TestTerminalOfOthers(t *testing.T) {
	s := newSSHHost(newHost(t))
	s.start()
	server := s.serve()
	const nobody = 65534
	stranger := shellServer{s, nobody, inTerminal}.connect(attacker)
	if code, out := stranger.run(s.ctlLine("block 203.0.113.0/24")); code == 0 {
		t.Errorf("a stranger may block: %s", out)
	}
	s.ctl(0, "block", "203.0.113.0/24")
	s.ctl(0, "import", writeFile(t, attacker+"\n"), "--origin", "a")
	if spared := s.spared(); len(spared) > 0 || !s.dropped(server, attacker) {
		t.Errorf("spared: %v", spared)
	}
	s.ctl(0, "unblock", "203.0.113.0/24", attacker, "--all")
	stranger.end()

	service := shellServer{s, 0, []string{"sh"}}.connect(attacker)
	// The answer does not arrive, since the block is in force.
	if _, err := fmt.Fprintln(service.input, s.ctlLine("block "+attacker)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); !s.dropped(server, attacker); {
		if time.Now().After(end) {
			t.Fatal("a service cannot block its client")
		}
	}
	s.ctl(0, "unblock", attacker)
}

// A service that runs in somebody's terminal has the terminal, too. The connections of its clients
// are not the one of that person.
func TestServiceInTerminal(t *testing.T) {
	s := newSSHHost(newHost(t))
	s.start()
	s.logIn(operator, anotherPort).Close() // sshd listens
	const port = 2525
	line := append(slices.Clone(s.client), "bash", "-c",
		fmt.Sprintf("until (exec 3<>/dev/tcp/%s/%d && sleep 3600) 2>/dev/null; do sleep 0.1; done", sshServer, port))
	client := exec.Command(line[0], line[1:]...)
	client.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-client.Process.Pid, syscall.SIGKILL) // fails only if it has ended
		client.Wait()                                      // it was killed
	})
	service := fmt.Sprintf(`perl -MIO::Socket -e '$l = IO::Socket::INET->new(LocalAddr => "%s:%d", Listen => 1, `+
		`ReuseAddr => 1) or die; $c = $l->accept; exit(system("%s") >> 8)'`, sshServer, port,
		s.ctlLine("block "+attacker))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := s.ssh.Terminal(ctx, s.from(operator, anotherPort), service)
	if err != nil || !strings.Contains(out, "blocked "+attacker) {
		t.Errorf("%v: %s", err, out)
	}
	s.ctl(0, "unblock", attacker)
}
