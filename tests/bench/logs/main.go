// Command logs measures how many lines of a log paraxial-agent reads, matches and reports in a
// second of processor time, and how much memory it takes. It runs Debian's fail2ban-regex and the
// parser of sshguard beside it, on the same lines, if they are installed. Before, it measures how
// long after a line was written packets are dropped.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/paraxial/paraxial/report"
	"github.com/paraxial/paraxial/tests/lab"
)

var (
	bin   = flag.String("bin", "bin", "the folder of paraxial-agent")
	lines = flag.Int("lines", 1_000_000, "lines of each log for paraxial-agent and sshguard")
	slow  = flag.Int("slow", 100_000, "lines of each log for fail2ban")
	only  = flag.String("only", "", "the one kind of log to measure: sshd, or nginx combined")
	waits = flag.Int("rounds", 100, "lines after which the first drop is awaited; needs root")
)

// kind is a kind of log.
type kind struct {
	name, format, fail2ban string
	sshguard               bool
	write                  func(w *bufio.Writer, r *rand.Rand, n int) (counts bool)
}

func main() {
	log.SetFlags(0)
	if os.Getenv(asSender) != "" {
		if err := send(os.Args[1]); err != nil {
			log.Fatal(err)
		}
		return
	}
	flag.Parse()
	if err := enter(); err != nil {
		log.Fatal(err)
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// enter measures in a sandbox what needs root.
func enter() error {
	if *waits == 0 || os.Geteuid() != 0 {
		log.Print("without root, the time from a line to a drop is not measured")
		return nil
	}
	status, err := lab.Enter(func() int {
		if err := latency(*waits); err != nil {
			log.Print(err)
			return 1
		}
		return 0
	})
	if err == nil && status != 0 {
		err = errors.New("the time from a line to a drop was not measured")
	}
	return err
}

func run() error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LOG\tPROGRAM\tLINES\tPROCESSOR\tLINES PER CPU-SECOND\tOF IT SYSTEM\tMEMORY")
	for _, k := range []kind{
		{"sshd", "sshd", "sshd", true, sshd}, {"nginx combined", "nginx-access", "nginx-botsearch", false, nginx},
	} {
		if *only != "" && k.name != *only {
			continue
		}
		rows, err := measure(dir, k)
		if err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
		for _, r := range rows {
			fmt.Fprintln(w, r)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func measure(dir string, k kind) (rows []string, err error) {
	many, few := filepath.Join(dir, "many"), filepath.Join(dir, "few")
	events, err := generate(many, k, *lines)
	if err != nil {
		return nil, err
	}
	if _, err := generate(few, k, *slow); err != nil {
		return nil, err
	}
	row := func(program string, n int, state *os.ProcessState) {
		cpu := state.UserTime() + state.SystemTime()
		memory := state.SysUsage().(*syscall.Rusage).Maxrss >> 10
		rows = append(rows, fmt.Sprintf("%s\t%s\t%d\t%s\t%.0f\t%.0f%%\t%d MiB", k.name, program, n,
			cpu.Round(10*time.Millisecond), float64(n)/cpu.Seconds(),
			100*state.SystemTime().Seconds()/cpu.Seconds(), memory))
	}
	for _, other := range []struct {
		program, log string
		n            int
		args         []string
		stdin        bool
	}{
		{"fail2ban-regex", few, *slow, []string{few, k.fail2ban}, false},
		{"/usr/libexec/sshguard/sshg-parser", many, *lines, nil, true},
	} {
		path, err := exec.LookPath(other.program)
		if other.stdin && !k.sshguard {
			continue
		}
		if err != nil {
			log.Printf("%s is not installed", other.program)
			continue
		}
		cmd := exec.Command(path, other.args...)
		if other.stdin {
			in, err := os.Open(other.log)
			if err != nil {
				return nil, err
			}
			defer in.Close()
			cmd.Stdin = in
		}
		if err := cmd.Run(); cmd.ProcessState == nil {
			return nil, err
		}
		row(filepath.Base(other.program), other.n, cmd.ProcessState)
	}
	state, err := agent(dir, many, k, events)
	if err != nil {
		return nil, err
	}
	row("paraxial-agent", *lines, state)
	return rows, nil
}

// agent runs paraxial-agent until it has reported all events of a log.
func agent(dir, many string, k kind, events int) (*os.ProcessState, error) {
	dir, err := os.MkdirTemp(dir, "agent")
	if err != nil {
		return nil, err
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	l, err := net.Listen("unix", path("sock"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var d daemon
	go report.NewServer(&d, &report.Board{}, report.Options{}).Serve(ctx, l)
	config := fmt.Sprintf("reports: {socket: %s}\nlogs: [{name: x, file: %s, format: %s, rule: y}]\n", path("sock"),
		path("log"), k.format)
	if err := os.WriteFile(path("config"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(*bin, "paraxial-agent"), "logs", "--config", path("config"), "--state-dir",
		path("state"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer cmd.Process.Kill()
	// A file that appears while the agent runs is read from its start.
	for d.told.Load() == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	if err := os.Rename(many, path("log")); err != nil {
		return nil, err
	}
	patience := 5*time.Minute + time.Duration(*lines)*100*time.Microsecond
	for end := time.Now().Add(patience); d.events.Load() < int64(events); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return nil, fmt.Errorf("%d of %d events were reported within %v", d.events.Load(), events, patience)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return nil, err
	}
	err = cmd.Wait()
	return cmd.ProcessState, err
}

// daemon counts events.
type daemon struct {
	report.Backend
	events, told atomic.Int64
}

func (d *daemon) Reporter(uint32) (report.Rights, bool) {
	return report.Rights{
		Name: "logs", EventsPerSecond: 1 << 30, MayReport: func(string) bool { return true },
		MayTell: func(string) bool {
			d.told.Add(1)
			return true
		},
	}, true
}

func (d *daemon) Events(_ context.Context, _ string, events []report.Event) ([]report.Refusal, error) {
	d.events.Add(int64(len(events)))
	return nil, nil
}

func (d *daemon) Note(_, _, _ string) {}

// generate writes a log, and returns how many of its lines are events.
func generate(path string, k kind, n int) (events int, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	r := rand.New(rand.NewPCG(42, 42))
	for i := range n {
		if k.write(w, r, i) {
			events++
		}
	}
	if err := w.Flush(); err != nil {
		return 0, err
	}
	return events, f.Close()
}

func address(r *rand.Rand) string {
	return fmt.Sprintf("%d.%d.%d.%d", 11+r.IntN(200), r.IntN(256), r.IntN(256), 1+r.IntN(254))
}

// sshd writes what a server under attack writes.
func sshd(w *bufio.Writer, r *rand.Rand, n int) bool {
	a, port := address(r), 1024+r.IntN(60000)
	fmt.Fprintf(w, "%s web1 sshd[%d]: ", time.Unix(1_780_000_000+int64(n/20), 0).UTC().Format(time.Stamp), 100+n%30000)
	user := []string{"root", "admin", "oracle", "test", "git"}[r.IntN(5)]
	switch r.IntN(10) {
	case 0, 1, 2:
		fmt.Fprintf(w, "Failed password for invalid user %s from %s port %d ssh2\n", user, a, port)
	case 3, 4, 5:
		fmt.Fprintf(w, "Failed password for root from %s port %d ssh2\n", a, port)
	case 6:
		fmt.Fprintf(w, "Invalid user %s from %s port %d\n", user, a, port)
	case 7:
		fmt.Fprintf(w, "Connection closed by authenticating user root %s port %d [preauth]\n", a, port)
	case 8:
		fmt.Fprintf(w, "Accepted publickey for deploy from %s port %d ssh2: ED25519 SHA256:abcdefghijkl\n", a, port)
	default:
		fmt.Fprintf(w, "pam_unix(sshd:session): session closed for user deploy\n")
		return false
	}
	return true
}

// nginx writes requests, of which one in ten is for something that is not there.
func nginx(w *bufio.Writer, r *rand.Rand, n int) bool {
	status, path := 200, fmt.Sprintf("/articles/%d?page=%d", r.IntN(100_000), r.IntN(20))
	if r.IntN(10) == 0 {
		status, path = 404, "/wp-login.php"
	}
	at := time.Unix(1_780_000_000+int64(n/100), 0).UTC().Format("02/Jan/2006:15:04:05 -0700")
	fmt.Fprintf(w, "%s - - [%s] \"GET %s HTTP/1.1\" %d %d \"https://www.example.com/\" \"Mozilla/5.0 (X11; Linux "+
		"x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\"\n", address(r), at, path, status, r.IntN(90_000))
	return status == 404
}
