package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/paraxial/paraxial/tests/vm/qemu"
)

// guestMAC is the address of the machine's network card.
const guestMAC = "52:54:00:00:00:01"

// A machine is a Debian system that runs in QEMU.
type machine struct {
	*qemu.Machine
	system system
	dir    string
	card   *qemu.Stream
	agent  net.Conn // see guest/agent.sh
	lines  *bufio.Reader
}

// A system describes what a machine boots.
type system struct {
	kernel, initrd, disk string
	packages             string // an image of a file system with the packages
	console              string // path of the console's log
}

// boot starts the machine and waits for its agent.
func boot(ctx context.Context, s system, dir string) (m *machine, err error) {
	m = &machine{system: s, dir: dir}
	if m.card, err = qemu.NewStream(dir); err != nil {
		return nil, err
	}
	if err := m.start(ctx); err != nil {
		m.close()
		return nil, err
	}
	return m, m.ready(ctx)
}

// start switches the machine on.
func (m *machine) start(ctx context.Context) error {
	agent, err := qemu.Listen(filepath.Join(m.dir, "agent"))
	if err != nil {
		return err
	}
	if m.Machine, err = qemu.Start(ctx, m.system.arguments(m.card, agent), nil); err != nil {
		return err
	}
	if err := m.card.Connect(); err != nil {
		return err
	}
	if m.agent, err = agent.Accept(); err != nil {
		return err
	}
	m.lines = bufio.NewReader(m.agent)
	return nil
}

const megabytes = 768

func (s system) arguments(card *qemu.Stream, agent *qemu.Socket) []string {
	return append(qemu.Base(qemu.TCG, megabytes, s.console),
		"-no-reboot", "-kernel", s.kernel, "-initrd", s.initrd,
		"-append", "root=/dev/vda rw console=ttyS0 mitigations=off net.ifnames=0",
		"-drive", "file="+s.disk+",if=virtio,format=raw",
		"-drive", "file="+s.packages+",if=virtio,format=raw,readonly=on",
		"-netdev", card.Netdev("n0"), "-device", "virtio-net-pci,netdev=n0,mac="+guestMAC,
		"-device", "virtio-serial-pci", "-chardev", "socket,id=agent,path="+agent.Path(),
		"-device", "virtserialport,chardev=agent,name=paraxial.test",
	)
}

func (m *machine) close() {
	if m.Machine != nil {
		m.Stop()
	}
	m.card.Close()
	if m.agent != nil {
		m.agent.Close()
	}
}

// bootTime is many times what an emulated machine takes.
const bootTime = 15 * time.Minute

// ready waits until the agent reports that the system runs.
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

// commandTime is many times what a command takes.
const commandTime = 10 * time.Minute

// run runs a command in the machine's shell, and returns its output.
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

// reboot restarts the machine, and returns when it runs again. A new QEMU takes over the disk when
// the machine resets: emulated processors that continue after a reset need a minute longer to boot.
func (m *machine) reboot(ctx context.Context) error {
	if _, err := m.run(ctx, "systemctl --no-block reboot"); err != nil {
		return err
	}
	if err := m.WaitFor(bootTime); err != nil {
		return fmt.Errorf("wait for the machine to reset: %w", err)
	}
	if err := errors.Join(m.agent.Close(), m.card.Reopen()); err != nil {
		return err
	}
	if err := m.start(ctx); err != nil {
		return err
	}
	return m.ready(ctx)
}
