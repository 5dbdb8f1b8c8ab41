package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/lab"
)

const (
	loginCard   = "eth1"         // the card that clients with a network stack of their own are behind
	loginServer = "192.0.2.22"   // of sshd
	guesser     = "203.0.113.66" // guesses names of users
	colleague   = "203.0.113.67" // logs in now and then
	loginLog    = "/run/auth.log"
	nobody      = 65534 // the user of paraxial-agent logs
	loginLimit  = 4
	guesses     = 20
	answerTime  = 10 * time.Second
	loginRule   = policy.OriginRule + "sshd"
)

// logins returns the part of the configuration that reads the log of sshd.
func logins() string {
	return fmt.Sprintf(`rules:
  - name: sshd
    limit: %d
    window: 10m
    action: block
    for: 1h
logs:
  - name: sshd
    file: %s
    format: sshd
    rule: sshd
reports:
  reporters: [{name: logs, user: "%d", rules: [sshd]}]
`, loginLimit, loginLog, nobody)
}

// loginSite is a host with sshd, and clients on another wire.
type loginSite struct {
	missing []string // programs; without them there is no site
	within  []string // a command that runs another one as a client
	stop    []func() error
}

// close undoes what newLoginSite did, the last first.
func (s *loginSite) close() (err error) {
	for n := len(s.stop) - 1; n >= 0; n-- {
		err = errors.Join(err, s.stop[n]())
	}
	return err
}

// missingForLogins returns the programs that the attack on sshd needs and that are not here.
func missingForLogins() (missing []string) {
	for _, program := range []string{"/usr/sbin/sshd", "ssh", "ssh-keygen", "ip", "unshare", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	return missing
}

// newLoginSite makes the second wire, and starts sshd.
func newLoginSite(ctx context.Context) (s *loginSite, err error) {
	s = new(loginSite)
	if s.missing = missingForLogins(); len(s.missing) > 0 {
		return s, nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	return s, s.startSSH()
}

// connect makes the clients' namespace and the wire to it.
func (s *loginSite) connect(ctx context.Context) error {
	holder := exec.Command("unshare", "--net", "sleep", "3600")
	if err := holder.Start(); err != nil {
		return fmt.Errorf("make the clients' namespace: %w", err)
	}
	s.stop = append(s.stop, func() error { return end(holder) })
	pid := strconv.Itoa(holder.Process.Pid)
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	err = eventually(settle, func() (bool, error) {
		ns, err := os.Readlink("/proc/" + pid + "/ns/net")
		return err == nil && ns != own, nil
	})
	if err != nil {
		return err
	}
	s.within = []string{"nsenter", "--net", "-t", pid}
	for _, line := range []string{
		"ip link add " + loginCard + " type veth peer name client netns " + pid,
		"ip addr add " + loginServer + "/32 dev " + loginCard,
		"ip link set " + loginCard + " up",
		"ip route add 203.0.113.0/24 dev " + loginCard,
		"@ip link set client up",
		"@ip addr add " + guesser + "/32 dev client",
		"@ip addr add " + colleague + "/32 dev client",
		"@ip route add " + loginServer + " dev client",
	} {
		command, inside := strings.CutPrefix(line, "@")
		words := strings.Fields(command)
		if inside {
			words = append(append([]string{}, s.within...), words...)
		}
		if out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", line, err, out)
		}
	}
	return nil
}

// startSSH starts sshd. It writes its messages to a pipe, and a goroutine adds the time, the host
// and the program to each, as a syslog daemon does.
func (s *loginSite) startSSH() error {
	dir, err := os.MkdirTemp("/run", "sshd")
	if err != nil {
		return err
	}
	key := filepath.Join(dir, "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		return fmt.Errorf("make the key of sshd: %w\n%s", err, out)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return err
	}
	log, err := os.Create(loginLog)
	if err != nil {
		return err
	}
	sshd := exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", key, "-o", "PidFile=none",
		"-o", "ListenAddress="+loginServer)
	messages, err := sshd.StderrPipe()
	if err != nil {
		return err
	}
	if err := sshd.Start(); err != nil {
		return fmt.Errorf("start sshd: %w", err)
	}
	go writeLog(log, messages)
	s.stop = append(s.stop, log.Close, func() error { return end(sshd) })
	return nil
}

// writeLog writes each message as a line of a syslog daemon, until there are no more.
func writeLog(log io.Writer, messages io.Reader) {
	lines := bufio.NewScanner(messages)
	for lines.Scan() {
		message := strings.TrimSuffix(lines.Text(), "\r")
		fmt.Fprintf(log, "%s web1 sshd[22]: %s\n", time.Now().Format(time.Stamp), message)
	}
}

// startAgent starts paraxial-agent as a user without any right.
func (s *loginSite) startAgent(agent string) error {
	dir := "/run/logs-state"
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, nobody, nobody)); err != nil {
		return err
	}
	binary, err := os.Open(agent) // the user may not be able to reach it
	if err != nil {
		return err
	}
	defer binary.Close()
	cmd := exec.Command("/proc/self/fd/3", "logs", "--config", configFile, "--state-dir", dir)
	cmd.ExtraFiles, cmd.Dir = []*os.File{binary}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start paraxial-agent: %w", err)
	}
	s.stop = append(s.stop, func() error { return end(cmd) })
	return nil
}

// end ends a process.
func end(cmd *exec.Cmd) error {
	cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	cmd.Wait()                          // it was told to end
	return nil
}

// guess tries to log in, and reports whether sshd answered.
func (s *loginSite) guess(ctx context.Context, from, user string) (answered bool, err error) {
	words := append(append([]string{}, s.within...), "ssh", "-F", "/dev/null", "-b", from, "-o", "BatchMode=yes",
		"-o", "ConnectTimeout=2", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "LogLevel=ERROR", "-l", user, loginServer, "true")
	// A ban in the middle of a connection leaves ssh waiting.
	brief, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	out, err := exec.CommandContext(brief, words[0], words[1:]...).CombinedOutput()
	switch {
	case err == nil:
		return false, fmt.Errorf("sshd let %s in", user)
	case brief.Err() != nil && ctx.Err() == nil:
		return false, nil
	case strings.Contains(string(out), "Permission denied"):
		return true, nil
	case strings.Contains(string(out), "timed out"):
		return false, nil
	}
	return false, fmt.Errorf("ssh from %s: %w\n%s", from, err, out)
}

// showLogins shows a brute-force attack on sshd, from its first line in the log to the drop.
func showLogins(ctx context.Context, d lab.Daemon, s *loginSite) error {
	heading("Someone guesses names of users of sshd")
	if len(s.missing) > 0 {
		fmt.Printf("Left out: it needs %s (on Debian: apt-get install openssh-server openssh-client iproute2).\n",
			strings.Join(s.missing, ", "))
		return nil
	}
	printIndented(logins())
	fmt.Printf("$ paraxial-agent logs --config %s &      (as user %d, without any right)\n", configFile, nobody)
	if err := s.startAgent(d.Agent); err != nil {
		return err
	}
	if err := awaitLog(ctx, d); err != nil {
		return err
	}
	tried, dropped := 0, false
	for ; tried < guesses && !dropped; tried++ {
		answered, err := s.guess(ctx, guesser, fmt.Sprintf("user%d", tried))
		if err != nil {
			return err
		}
		dropped = !answered
	}
	if !dropped {
		return fmt.Errorf("%d guesses of %s were answered: it is not banned", tried, guesser)
	}
	fmt.Printf("%s guesses again and again. sshd answers %d times; guess %d gets no answer.\n", guesser, tried-1, tried)
	if answered, err := s.guess(ctx, colleague, "someone"); err != nil || !answered {
		return errors.Join(err, fmt.Errorf("%s, who guessed once, gets no answer: %t", colleague, answered))
	}
	fmt.Printf("%s, its neighbour, mistypes once, and sshd answers.\n", colleague)
	for _, args := range [][]string{{"logs"}, {"why", guesser}} {
		if err := show(ctx, d, args...); err != nil {
			return err
		}
	}
	why, err := ask(ctx, d, netip.MustParseAddr(guesser))
	if err != nil {
		return err
	}
	if len(why.Matched) != 1 || why.Matched[0].Origin != loginRule {
		return fmt.Errorf("want one entry of %s for %s, got %+v", loginRule, guesser, why.Matched)
	}
	return nil
}

// awaitLog waits until the agent follows the log.
func awaitLog(ctx context.Context, d lab.Daemon) error {
	following := false
	err := eventually(10*settle, func() (bool, error) {
		r, err := d.Run(ctx, "-o", "json", "logs")
		following = err == nil && r.Code == 0 && strings.Contains(r.Stdout, `"sshd"`)
		return following, err
	})
	if err == nil && !following {
		err = errors.New("paraxial-agent does not read the log of sshd")
	}
	return err
}
