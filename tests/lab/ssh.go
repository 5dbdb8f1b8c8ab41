package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// An SSHServer is a real sshd. It accepts the key of its clients for every user.
type SSHServer struct {
	dir string
	cmd *exec.Cmd
}

// StartSSH starts sshd on all addresses of this network namespace, on these ports. dir takes its
// keys; other users must be able to read it.
func StartSSH(dir string, ports ...int) (*SSHServer, error) {
	return StartSSHProgram("/usr/sbin/sshd", dir, ports...)
}

// StartSSHProgram starts an sshd that has another name.
func StartSSHProgram(program, dir string, ports ...int) (*SSHServer, error) {
	s := &SSHServer{dir: dir}
	for _, name := range []string{"host", "user"} {
		out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", s.file(name)).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("make the key %s: %w\n%s", name, err, out)
		}
	}
	key, err := os.ReadFile(s.file("user.pub"))
	if err == nil {
		err = os.WriteFile(s.file("authorized"), key, 0o644)
	}
	// The askpass program of a client that waits for a person to type the password.
	ask := fmt.Sprintf("#!/bin/sh\ntouch %s\nexec sleep 3600\n", s.file("asked"))
	err = errors.Join(err, os.WriteFile(s.file("ask"), []byte(ask), 0o755), os.MkdirAll("/run/sshd", 0o755))
	if err != nil {
		return nil, fmt.Errorf("prepare sshd: %w", err)
	}
	args := []string{
		"-D", "-f", "/dev/null", "-h", s.file("host"), "-E", s.file("log"), "-o", "PidFile=none",
		"-o", "StrictModes=no",
		"-o", "PermitRootLogin=yes", "-o", "AuthorizedKeysFile=" + s.file("authorized"),
	}
	for _, port := range ports {
		args = append(args, "-p", strconv.Itoa(port))
	}
	s.cmd = exec.Command(program, args...)
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start sshd: %w", err)
	}
	return s, nil
}

// End stops the server and its sessions. A session whose client was killed may stay open: the
// filter drops the end of the connection if the client's address is blocked.
func (s *SSHServer) End() error {
	session, err := descendants(s.cmd.Process.Pid)
	err = errors.Join(err, s.Stop())
	for _, pid := range session {
		err = errors.Join(err, endProcess(pid))
	}
	return err
}

// descendants returns the children of a process and their children.
func descendants(pid int) ([]int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			return nil, nil // it has ended
		}
		return nil, err
	}
	var all []int
	for _, field := range strings.Fields(string(text)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		below, err := descendants(child)
		if err != nil {
			return nil, err
		}
		all = append(append(all, child), below...)
	}
	return all, nil
}

// endProcess kills a process that is no child of this one, and waits until it has closed its
// connections. Process 1 of a sandbox may leave a zombie, which has no command line.
func endProcess(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err != nil || len(line) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("process %d does not end", pid)
		}
	}
}

func (s *SSHServer) file(name string) string { return filepath.Join(s.dir, name) }

// Stop stops the server, not its sessions.
func (s *SSHServer) Stop() error {
	if err := s.cmd.Process.Kill(); err != nil {
		return err
	}
	s.cmd.Wait() // it was killed
	return nil
}

// An SSHClient tells how ssh is run.
type SSHClient struct {
	Within   []string // a command that runs ssh, such as nsenter; may be empty
	User     string
	From, To string // addresses
	Port     int
}

func (s *SSHServer) ssh(c SSHClient, args ...string) *exec.Cmd {
	line := append(append([]string{}, c.Within...), "ssh", "-F", "/dev/null", "-i", s.file("user"),
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		"-b", c.From, "-p", strconv.Itoa(c.Port))
	line = append(append(line, args...), c.User+"@"+c.To)
	return exec.Command(line[0], line[1:]...)
}

// An SSHSession is an authenticated session of a client.
type SSHSession struct {
	cmd    *exec.Cmd
	input  io.WriteCloser
	output *bufio.Reader
	errors strings.Builder
}

// Login opens a session and waits until the user is authenticated. Options are options of ssh.
func (s *SSHServer) Login(ctx context.Context, c SSHClient, options ...string) (*SSHSession, error) {
	for {
		session, err := s.login(c, options)
		if err == nil {
			return session, nil
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(s.file("log")) // for the message only
			return nil, fmt.Errorf("log in: %w\n%s", err, log)
		case <-time.After(50 * time.Millisecond): // sshd may not listen yet
		}
	}
}

func (s *SSHServer) login(c SSHClient, options []string) (*SSHSession, error) {
	session := new(SSHSession)
	cmd := s.ssh(c, append([]string{"-o", "BatchMode=yes"}, options...)...)
	cmd.Args = append(cmd.Args, "cat")
	cmd.Stderr = &session.errors
	var err1, err2 error
	session.cmd = cmd
	session.input, err1 = cmd.StdinPipe()
	output, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		return nil, err
	}
	session.output = bufio.NewReader(output)
	if err := session.Echo("hello"); err != nil {
		return nil, errors.Join(err, session.Close())
	}
	return session, nil
}

// Echo sends a line to the other end, which sends it back.
func (s *SSHSession) Echo(line string) error {
	if _, err := fmt.Fprintln(s.input, line); err != nil {
		return fmt.Errorf("send to the session: %w", err)
	}
	got, err := s.output.ReadString('\n')
	if err != nil || strings.TrimSpace(got) != line {
		return fmt.Errorf("the session answered %q to %q: %w; %s", got, line, err, s.errors.String())
	}
	return nil
}

// Close ends the session.
func (s *SSHSession) Close() error {
	s.input.Close()
	s.cmd.Process.Kill() // fails only if it has ended
	s.cmd.Wait()         // it was killed
	return nil
}

// Terminal runs a command in a session with a terminal, and returns its output.
func (s *SSHServer) Terminal(ctx context.Context, c SSHClient, command string) (string, error) {
	ssh := s.ssh(c, "-o", "BatchMode=yes", "-tt")
	cmd := exec.CommandContext(ctx, ssh.Args[0], append(ssh.Args[1:], command)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Prompt opens a connection that waits for a password, until stop is called.
func (s *SSHServer) Prompt(ctx context.Context, c SSHClient) (stop func(), err error) {
	cmd := s.ssh(c, "-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password")
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+s.file("ask"), "SSH_ASKPASS_REQUIRE=force")
	var out strings.Builder
	cmd.Stderr = &out
	cmd.WaitDelay = time.Second // the askpass program has the pipe open, too
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		cmd.Process.Kill() // fails only if it has ended
		cmd.Wait()         // it was killed
	}
	for {
		if _, err := os.Stat(s.file("asked")); err == nil {
			return stop, nil
		}
		select {
		case <-ctx.Done():
			stop()
			return nil, fmt.Errorf("wait for the password prompt: %w\n%s", ctx.Err(), out.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// AuthorizedKeys is the file with the key of the clients.
func (s *SSHServer) AuthorizedKeys() string { return s.file("authorized") }
