// Package qemu runs virtual machines whose console is kept, and which end with
// the process that started them. Everything is emulated: it works on any machine,
// and says nothing of speed.
package qemu

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// A Machine is a running virtual machine.
type Machine struct {
	command *exec.Cmd
	exited  chan struct{}
}

// Base are the arguments of every machine here: two emulated CPUs, and a console
// that is written to a file.
func Base(megabytes int, console string) []string {
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-accel", "tcg,thread=multi",
		"-cpu", "max", "-smp", "2", "-m", fmt.Sprint(megabytes), "-serial", "file:" + console,
	}
}

// Start starts a machine that inherits files, from descriptor 3 on. It ends with
// ctx, and with this process, however that ends: that signal is tied to the thread
// that starts it, which therefore must live as long.
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
			m.command.Wait() // killed, mostly: what the machine said is what counts
			close(m.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start qemu (apt-get install qemu-system-x86): %w", err)
	}
	return m, nil
}

// Stop ends the machine at once.
func (m *Machine) Stop() {
	m.command.Process.Kill()
	<-m.exited
}

// Exited is closed when the machine has ended.
func (m *Machine) Exited() <-chan struct{} { return m.exited }
