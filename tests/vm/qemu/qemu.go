// Package qemu runs virtual machines whose console output is kept, and which end with the process
// that started them. By default everything is emulated: this works on any machine, but the speed
// has no meaning.
package qemu

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// A Machine is a running virtual machine.
type Machine struct {
	command *exec.Cmd
	exited  chan struct{}
	failure error // valid once exited is closed
}

// Base returns the arguments that every machine here has: two CPUs, and a console that is written
// to a file.
func Base(a Accelerator, megabytes int, console string) []string {
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-accel", string(a),
		"-cpu", "max", "-smp", "2", "-m", fmt.Sprint(megabytes),
		"-chardev", "file,id=console,append=on,path=" + console, "-serial", "chardev:console",
	}
}

// Start starts a machine that inherits files, from descriptor 3 on. It ends with ctx and with this
// process, however the process ends: the death signal is tied to the thread that starts the
// machine, so that thread must live as long.
func Start(ctx context.Context, arguments []string, files []*os.File) (*Machine, error) {
	m := &Machine{command: exec.CommandContext(ctx, "qemu-system-x86_64", arguments...), exited: make(chan struct{})}
	m.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.command.Stderr = os.Stderr
	m.command.ExtraFiles = files
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := m.command.Start()
		started <- err
		if err == nil {
			m.failure = m.command.Wait()
			close(m.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start qemu (apt-get install qemu-system-x86): %w", err)
	}
	return m, nil
}

// Wait returns when the machine has ended by itself, or with ctx.
func (m *Machine) Wait() error {
	<-m.exited
	return m.failure
}

// WaitFor returns when the machine has ended by itself, or an error if it has not ended in that
// time.
func (m *Machine) WaitFor(limit time.Duration) error {
	select {
	case <-m.exited:
		return m.failure
	case <-time.After(limit):
		return fmt.Errorf("the machine still runs after %s", limit)
	}
}

// exitTime is longer than QEMU takes from closing its sockets to its exit.
const exitTime = 2 * time.Second

// Exit returns how a machine that does not answer any more has ended.
func (m *Machine) Exit() string {
	select {
	case <-m.exited:
	case <-time.After(exitTime):
		return "qemu still runs"
	}
	if m.failure != nil {
		return "qemu: " + m.failure.Error()
	}
	return "it switched itself off"
}

// Stop kills the machine.
func (m *Machine) Stop() {
	m.command.Process.Kill()
	<-m.exited
}
