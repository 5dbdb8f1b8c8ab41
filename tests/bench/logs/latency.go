package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/lab"
)

const (
	// port is that of the server that the packets are sent to.
	port = 7777
	// unit is the unit whose messages are read from the journal.
	unit = "ssh.service"
	// patience is how long a source may go on without a drop.
	patience = 30 * time.Second
)

// latency measures how long after a line was written the packets of its source are dropped: by
// lines of a file, and of the journal if systemd-journald is installed. The daemon, the agent, the
// journal and the network are real.
func latency(rounds int) error {
	dir, err := os.MkdirTemp("/run", "latency")
	if err != nil {
		return err
	}
	wire, err := lab.NewWire("up0")
	if err != nil {
		return err
	}
	defer wire.Close()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "FROM A LINE TO THE FIRST DROP\tROUNDS\tP50\tP99\tWORST")
	for n, open := range []func(dir string) (writer, error){openFile, openJournal} {
		to, err := open(dir)
		if err != nil {
			return err
		}
		waits, err := drops(dir, wire, to, byte(n), rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", to.name, err)
		}
		slices.Sort(waits)
		at := func(percent int) time.Duration {
			return waits[(len(waits)*percent+99)/100-1].Round(100 * time.Microsecond)
		}
		fmt.Fprintf(w, "%s\t%d\t%v\t%v\t%v\n", to.name, rounds, at(50), at(99), at(100))
	}
	return nil
}

// writer writes lines of a log.
type writer struct {
	name   string
	source string // in the configuration
	write  func(message string) error
	close  func()
}

func openFile(dir string) (writer, error) {
	path := filepath.Join(dir, "auth.log")
	f, err := os.Create(path)
	return writer{"a file", "file: " + path, func(message string) error {
		_, err := fmt.Fprintf(f, "%s h sshd[1]: %s\n", time.Now().Format(time.RFC3339Nano), message)
		return err
	}, func() { f.Close() }}, err
}

// openJournal starts a journal in the sandbox, and a process of the unit: that is the name of its
// control group.
func openJournal(string) (writer, error) {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return writer{}, err
	}
	const groups = "/sys/fs/cgroup/systemd"
	group := filepath.Join(groups, "system.slice", unit)
	for _, m := range []struct{ kind, target, data string }{
		{"tmpfs", "/var/log", ""}, {"tmpfs", "/sys/fs/cgroup", ""}, {"cgroup", groups, "none,name=systemd"},
	} {
		err := os.MkdirAll(m.target, 0o755)
		if err == nil {
			err = unix.Mount(m.kind, m.target, m.kind, 0, m.data)
		}
		if err != nil {
			return writer{}, fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	err = errors.Join(os.MkdirAll("/run/log/journal/"+strings.TrimSpace(string(id)), 0o755),
		os.MkdirAll(group, 0o755))
	if err != nil {
		return writer{}, err
	}
	cmd := exec.Command("/lib/systemd/systemd-journald")
	if err := cmd.Start(); err != nil {
		return writer{}, err
	}
	err = eventually("journald listens", func() error {
		c, err := net.Dial("unixgram", journalSocket)
		if err == nil {
			c.Close()
		}
		return err
	})
	if err != nil {
		return writer{}, err
	}
	child := exec.Command("/proc/self/exe", group)
	child.Env, child.Stderr = append(os.Environ(), asSender+"=1"), os.Stderr
	in, err := child.StdinPipe()
	if err == nil {
		err = child.Start()
	}
	return writer{"the journal", "journal: {units: [" + unit + "]}", func(message string) error {
		_, err := io.WriteString(in, message+"\n")
		return err
	}, func() {
		in.Close()
		child.Wait()
		cmd.Process.Kill()
		cmd.Wait()
	}}, err
}

const (
	journalSocket = "/run/systemd/journal/socket"
	// asSender is the variable that makes this program send messages.
	asSender = "PARAXIAL_BENCH_SENDER"
)

// send becomes a process of a control group, and sends lines of its input to the journal.
func send(group string) error {
	err := os.WriteFile(filepath.Join(group, "cgroup.procs"), fmt.Append(nil, os.Getpid()), 0o600)
	var c net.Conn
	if err == nil {
		c, err = net.Dial("unixgram", journalSocket)
	}
	for lines := bufio.NewScanner(os.Stdin); err == nil && lines.Scan(); {
		_, err = c.Write([]byte("SYSLOG_IDENTIFIER=sshd\nMESSAGE=" + lines.Text() + "\n"))
	}
	return err
}

func eventually(what string, f func() error) error {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := f()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %v: %s: %w", patience, what, err)
		}
	}
}

// drops starts a daemon and an agent, and writes a line for one source after the other.
func drops(dir string, wire *lab.Wire, to writer, number byte, rounds int) (waits []time.Duration, err error) {
	defer to.close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	config := filepath.Join(dir, fmt.Sprintf("config%d", number))
	text := fmt.Sprintf("interfaces: [%s]\nmetrics: off\ndetection: {breaker: {bans_per_minute: 0}}\n"+
		"rules: [{name: login, limit: 0, window: 10m, action: block, for: 1h}]\n"+
		"logs: [{name: x, %s, format: sshd, rule: login}]\n"+
		"reports: {reporters: [{name: logs, user: root, rules: [\"*\"]}]}\n", wire.Host, to.source)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	d := lab.NewDaemon(lab.InDir(*bin), config+".state")
	d.Flags = []string{"--config", config}
	daemon, err := d.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, daemon.Stop(context.Background())) }()
	server, err := lab.Serve(port)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	agent := exec.CommandContext(ctx, d.Agent, "logs", "--config", config, "--state-dir", config+".agent")
	agent.Stderr = os.Stderr
	if err := agent.Start(); err != nil {
		return nil, err
	}
	defer agent.Wait()
	defer cancel()
	err = eventually("the log is read", func() error {
		r, err := d.Run(ctx, "logs")
		if err == nil && !strings.Contains(r.Stdout, "x    read") {
			err = errors.New(r.Stdout)
		}
		return err
	})
	// It is not known when journalctl has begun, so the line for the first source is written again.
	for n := 0; n <= rounds && err == nil; n++ {
		var wait time.Duration
		wait, err = drop(ctx, wire, server, to, netip.AddrFrom4([4]byte{11, number, byte(n >> 8), byte(n)}), n == 0)
		if n > 0 {
			waits = append(waits, wait)
		}
	}
	if err != nil {
		state, _ := d.Run(ctx, "logs", "x")
		err = fmt.Errorf("%w\n%s", err, state.Stdout)
	}
	return waits, err
}

// drop writes a line against a source, and sends one packet after the other until one is dropped.
func drop(
	ctx context.Context, wire *lab.Wire, server *lab.Server, to writer, source netip.Addr, first bool,
) (time.Duration, error) {
	packet := wire.From(source).UDP(40000, port, []byte("hello"))
	line := fmt.Sprintf("Failed password for root from %s port 4711 ssh2", source)
	passes := func() (bool, error) {
		before := server.Sources()[source]
		err := wire.Send(packet)
		if err == nil {
			err = wire.Settle(ctx, server)
		}
		return server.Sources()[source] > before, err
	}
	if ok, err := passes(); err != nil || !ok {
		return 0, errors.Join(err, fmt.Errorf("a packet from %s was dropped before the line was written", source))
	}
	written := time.Now()
	if err := to.write(line); err != nil {
		return 0, err
	}
	for again := time.Second; ; {
		sent := time.Since(written)
		if first && sent > again {
			again += time.Second
			if err := to.write(line); err != nil {
				return 0, err
			}
		}
		ok, err := passes()
		switch {
		case err != nil:
			return 0, err
		case !ok:
			return sent, nil
		case sent > patience:
			return 0, fmt.Errorf("no packet from %s was dropped within %v", source, patience)
		}
	}
}
