package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// guestMAC is the address of the machine's network card.
const guestMAC = "52:54:00:00:00:01"

// A machine is a Debian system that runs in QEMU, on a copy of its disk that is
// thrown away.
type machine struct {
	qemu   *exec.Cmd
	exited chan error
	nic    net.Conn // frames, each after its length in four bytes
	agent  net.Conn // see guest/agent.sh
	lines  *bufio.Reader
	sendMu sync.Mutex
}

// A system is what a machine boots.
type system struct {
	kernel, initrd, disk string
	packages             string // an image of a file system with the packages, or ""
	console              string // where the console's log goes
}

// boot starts the machine and waits for its agent.
func boot(ctx context.Context, s system, dir string) (*machine, error) {
	nic, err := net.Listen("unix", filepath.Join(dir, "nic"))
	if err != nil {
		return nil, fmt.Errorf("listen for the network card: %w", err)
	}
	defer nic.Close()
	agent, err := net.Listen("unix", filepath.Join(dir, "agent"))
	if err != nil {
		return nil, fmt.Errorf("listen for the agent: %w", err)
	}
	defer agent.Close()
	m := &machine{exited: make(chan error, 1)}
	m.qemu = exec.CommandContext(ctx, "qemu-system-x86_64", s.arguments(dir)...)
	if err := m.start(); err != nil {
		return nil, err
	}
	if m.nic, err = accept(nic); err == nil {
		m.agent, err = accept(agent)
	}
	if err != nil {
		m.close()
		return nil, fmt.Errorf("wait for qemu, see %s: %w", s.console, err)
	}
	go io.Copy(io.Discard, m.nic) // what the machine sends; nobody answers
	m.lines = bufio.NewReader(m.agent)
	return m, m.ready(ctx)
}

func (s system) arguments(dir string) []string {
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-accel", "tcg,thread=multi",
		"-cpu", "max", "-smp", "2", "-m", "768",
		"-kernel", s.kernel, "-initrd", s.initrd,
		"-append", "root=/dev/vda rw console=ttyS0 mitigations=off net.ifnames=0",
		"-serial", "file:" + s.console,
		"-drive", "file=" + s.disk + ",if=virtio,format=raw,snapshot=on",
		"-drive", "file=" + s.packages + ",if=virtio,format=raw,readonly=on",
		"-netdev", "stream,id=n0,server=off,addr.type=unix,addr.path=" + filepath.Join(dir, "nic"),
		"-device", "virtio-net-pci,netdev=n0,mac=" + guestMAC,
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=agent,path=" + filepath.Join(dir, "agent"),
		"-device", "virtserialport,chardev=agent,name=paraxial.test",
	}
}

// start runs qemu so that it dies with this process: that signal is tied to the
// thread that started it, which therefore must live as long.
func (m *machine) start() error {
	m.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	m.qemu.Stderr = os.Stderr
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := m.qemu.Start()
		started <- err
		if err == nil {
			m.exited <- m.qemu.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start qemu: %w", err)
	}
	return nil
}

func accept(l net.Listener) (net.Conn, error) {
	if err := l.(*net.UnixListener).SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	return l.Accept()
}

func (m *machine) close() {
	m.qemu.Process.Kill()
	<-m.exited
	for _, c := range []net.Conn{m.nic, m.agent} {
		if c != nil {
			c.Close()
		}
	}
}

// bootTime is far more than an emulated machine takes.
const bootTime = 3 * time.Minute

// ready waits until the agent says that it runs.
func (m *machine) ready(ctx context.Context) error {
	for {
		line, err := m.read(ctx, bootTime)
		if err != nil {
			return fmt.Errorf("wait for the machine to boot: %w", err)
		}
		if line == "ready" {
			return nil
		}
	}
}

func (m *machine) read(ctx context.Context, limit time.Duration) (string, error) {
	if err := m.agent.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return "", err
	}
	line, err := m.lines.ReadString('\n')
	return strings.TrimSpace(line), err
}

// errStatus is a command's exit status other than 0.
type errStatus int

func (e errStatus) Error() string { return "exit status " + strconv.Itoa(int(e)) }

// commandTime is far more than a command takes.
const commandTime = 2 * time.Minute

// run has the machine's shell run a command, and returns what it printed.
func (m *machine) run(ctx context.Context, command string) (string, error) {
	fmt.Fprintln(m.agent, base64.StdEncoding.EncodeToString([]byte(command)))
	line, err := m.read(ctx, commandTime)
	if err != nil {
		return "", fmt.Errorf("wait for %q: %w", command, err)
	}
	status, encoded, _ := strings.Cut(line, " ")
	output, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return "", fmt.Errorf("read the answer to %q: %w", command, err)
	}
	text := strings.TrimSpace(string(output))
	if status != "0" {
		n, _ := strconv.Atoi(status)
		return text, fmt.Errorf("%q: %w: %s", command, errStatus(n), text)
	}
	return text, nil
}

// reboot has the machine restart, and returns when it runs again.
func (m *machine) reboot(ctx context.Context) error {
	if _, err := m.run(ctx, "systemctl --no-block reboot"); err != nil {
		return err
	}
	return m.ready(ctx)
}

// send gives a frame to the machine's network card. It blocks while the machine
// does not take any.
func (m *machine) send(frame []byte) error {
	m.sendMu.Lock()
	defer m.sendMu.Unlock()
	_, err := m.nic.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
