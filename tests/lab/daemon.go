package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/paraxial/paraxial/control"
)

const (
	daemonPackage = "github.com/paraxial/paraxial/cmd/paraxiald"
	ctlPackage    = "github.com/paraxial/paraxial/cmd/paraxialctl"
	agentPackage  = "github.com/paraxial/paraxial/cmd/paraxial-agent"
)

// Binaries are the paths of the programs.
type Binaries struct{ Daemon, Ctl, Agent string }

// Build builds the programs, once per sandbox: later calls find them. Call it inside Enter, in one
// of the module's folders.
//
// If the environment has BinariesVariable, it returns those of that folder.
func Build(ctx context.Context) (Binaries, error) {
	if dir := os.Getenv(BinariesVariable); dir != "" {
		return InDir(dir), nil
	}
	return buildIn(ctx, "bin")
}

// BinariesVariable is the environment variable with a folder of programs that are built already.
const BinariesVariable = "PARAXIAL_BINARIES"

// BuildPast builds another version of them: the layout of all its maps differs, and it does not
// know the newest format of the state file.
func BuildPast(ctx context.Context) (Binaries, error) { return buildIn(ctx, "past", "-tags", "past") }

func buildIn(ctx context.Context, name string, flags ...string) (Binaries, error) {
	dir, err := Once(name, func(dir string) error {
		// Without debugging information the linker needs half the time. The other flags are those of
		// the Makefile, so that all is compiled once.
		args := append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", dir}, flags...)
		cmd := exec.CommandContext(ctx, "go", append(args, daemonPackage, ctlPackage, agentPackage)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	if err != nil {
		return Binaries{}, fmt.Errorf("build the programs: %w", err)
	}
	return InDir(dir), nil
}

// InDir returns the binaries in a folder.
func InDir(dir string) Binaries {
	return Binaries{Daemon: filepath.Join(dir, "paraxiald"), Ctl: filepath.Join(dir, "paraxialctl"),
		Agent: filepath.Join(dir, "paraxial-agent")}
}

// A Daemon describes how to run paraxiald. It can be started any number of times.
type Daemon struct {
	Binaries
	Interfaces []string
	Socket     string // at most 107 bytes
	StateDir   string
	BPFFS      string   // below a mounted bpffs
	Flags      []string // more flags
	Env        []string // more environment, as NAME=value
}

// NewDaemon returns a daemon that keeps its state in stateDir and uses the default paths of socket
// and pins. No other daemon uses them in the sandbox.
func NewDaemon(b Binaries, stateDir string, interfaces ...string) Daemon {
	return Daemon{
		Binaries: b, Interfaces: interfaces, StateDir: stateDir,
		Socket: "/run/paraxial/paraxiald.sock", BPFFS: "/sys/fs/bpf/paraxial",
	}
}

// Args returns the daemon's command line without the program.
func (d Daemon) Args() []string {
	var args []string
	for _, name := range d.Interfaces {
		args = append(args, "--interface", name)
	}
	args = append(args, "--socket", d.Socket, "--state-dir", d.StateDir, "--bpffs", d.BPFFS, "--metrics", "")
	return append(args, d.Flags...)
}

// Start starts the daemon and waits until it answers. If the daemon exits first,
// the error contains its log.
func (d Daemon) Start(ctx context.Context) (*Process, error) {
	p := &Process{done: make(chan struct{})}
	p.cmd = exec.Command(d.Daemon, d.Args()...)
	p.cmd.Env = append(os.Environ(), d.Env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", d.Daemon, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if err := d.waitReady(ctx, p); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return p, nil
}

func (d Daemon) waitReady(ctx context.Context, p *Process) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	client := control.NewClient(d.Socket) // to run paraxialctl so often would cost more than the start
	for {
		_, err := client.Status(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("paraxiald ended before it was ready: %w\n%s", p.err, p.Log())
		case <-ctx.Done():
			return fmt.Errorf("wait for paraxiald: %w; status says: %w\n%s", ctx.Err(), err, p.Log())
		case <-tick.C:
		}
	}
}

// A Result is the output of paraxialctl and its exit code.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Run runs paraxialctl with the daemon's socket. An exit code other than 0 is not an error.
func (d Daemon) Run(ctx context.Context, args ...string) (Result, error) {
	return d.RunInput(ctx, "", args...)
}

// RunInput runs paraxialctl with stdin as its standard input.
func (d Daemon) RunInput(ctx context.Context, stdin string, args ...string) (Result, error) {
	return d.runCtl(ctx, stdin, []string{"PARAXIAL_SOCKET=" + d.Socket}, args...)
}

// RunDefault runs paraxialctl without naming a socket, as people do.
func (d Daemon) RunDefault(ctx context.Context, args ...string) (Result, error) {
	return d.runCtl(ctx, "", nil, args...)
}

func (d Daemon) runCtl(ctx context.Context, stdin string, env []string, args ...string) (Result, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, d.Ctl, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	r := Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("run paraxialctl %s: %w", strings.Join(args, " "), err)
	}
	return r, nil
}

// A Process is a running daemon.
type Process struct {
	cmd  *exec.Cmd
	log  logBuffer
	done chan struct{}
	err  error // valid once done is closed
}

// PID returns the daemon's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log returns the daemon's output.
func (p *Process) Log() string { return p.log.String() }

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Wait waits until the daemon exits, and returns an error unless it succeeds.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
	case <-ctx.Done():
		return fmt.Errorf("wait for paraxiald to end: %w\n%s", ctx.Err(), p.Log())
	}
	if p.err != nil {
		return fmt.Errorf("paraxiald: %w\n%s", p.err, p.Log())
	}
	return nil
}

// Stop stops the daemon as systemctl stop does, and waits.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop paraxiald: %w", err)
	}
	return p.Wait(ctx)
}

// Kill kills the daemon with kill -9, and waits.
func (p *Process) Kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill paraxiald: %w", err)
	}
	<-p.done
	return nil
}

// logBuffer is written by one goroutine and read by others.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
