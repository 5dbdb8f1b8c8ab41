// Command guest is the first process of a virtual machine in which the packet filter is tested on
// another kernel. It reads requests from the second serial port: one line of JSON per request, one
// line of JSON per answer.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/vm/wire"
)

// prepared is set in the environment once the file systems are mounted.
const prepared = "GUEST_PREPARED"

func main() {
	err := serve()
	fmt.Println("guest:", err) // to the console, which is kept
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("guest:", err)
	}
}

func serve() error {
	if os.Getenv(prepared) == "" {
		if err := prepare(); err != nil {
			return err
		}
		// Run again from the start, because libraries have looked for /proc before it existed.
		return unix.Exec("/init", []string{"/init"}, append(os.Environ(), prepared+"=yes", "PATH=/bin"))
	}
	port, err := openPort("/dev/ttyS1")
	if err != nil {
		return err
	}
	requests, answers := json.NewDecoder(bufio.NewReader(port)), json.NewEncoder(port)
	if err := answers.Encode(wire.Answer{}); err != nil { // ready
		return err
	}
	for {
		var r wire.Request
		if err := requests.Decode(&r); err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		out, err := handle(r)
		a := wire.Answer{Output: out}
		if err != nil {
			a.Error = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return fmt.Errorf("write an answer: %w", err)
		}
	}
}

func handle(r wire.Request) (string, error) {
	switch r.Do {
	case wire.Run:
		c := exec.Command(r.Arguments[0], r.Arguments[1:]...)
		c.Dir = r.Directory
		if r.Root != "" {
			c.SysProcAttr = &syscall.SysProcAttr{Chroot: r.Root}
		}
		c.Env = append(os.Environ(), r.Environment...)
		out, err := c.CombinedOutput()
		return string(out), err
	case wire.Start:
		return "", start(r.Arguments)
	case wire.Network:
		return network(r.Arguments[0], r.Arguments[1:])
	case wire.Verify:
		return verify(r.Arguments[0], r.Arguments[1:]...)
	case wire.Read:
		b, err := os.ReadFile(r.Arguments[0])
		return string(b), err
	case wire.MountHost:
		return "", mountHost()
	case wire.KernelLog:
		return kernelLog()
	}
	return "", fmt.Errorf("no such request: %q", r.Do)
}

// start runs a command until the machine ends; it writes to the console.
func start(arguments []string) error {
	c := exec.Command(arguments[0], arguments[1:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		return err
	}
	go func() { fmt.Println("guest:", arguments[0], "has ended:", c.Wait()) }()
	return nil
}

// prepare sets up what a system has before its first service.
func prepare() error {
	for _, m := range []struct{ kind, path, data string }{
		{"proc", "/proc", ""}, {"sysfs", "/sys", ""}, {"devtmpfs", "/dev", ""}, {"tmpfs", "/run", ""},
		{"tmpfs", "/tmp", ""}, {"tmpfs", "/var", ""}, {"bpf", "/sys/fs/bpf", "mode=0700"},
	} {
		if err := unix.Mount(m.kind, m.path, m.kind, 0, m.data); err != nil && err != unix.EBUSY {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	if err := os.MkdirAll("/var/lib/paraxial", 0o700); err != nil {
		return err
	}
	list, err := os.ReadFile("/modules/list")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(list)) {
		if err := load("/modules/" + name); err != nil {
			return fmt.Errorf("load module %s: %w", name, err)
		}
	}
	return nil
}

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if err == unix.EEXIST {
		return nil
	}
	return err
}

// openPort opens a serial port as a plain stream of bytes.
func openPort(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("set %s up: %w", path, err)
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return f, unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
}

// kernelLog returns the kernel's log so far.
func kernelLog() (string, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var log strings.Builder
	line := make([]byte, 8192)
	for {
		n, err := unix.Read(fd, line)
		if err == unix.EAGAIN {
			return log.String(), nil
		}
		if err != nil && err != unix.EPIPE { // lines that were overwritten in the meantime
			return "", err
		}
		if n > 0 {
			log.Write(line[:n])
		}
	}
}

// carrierTime is many times what the slowest card takes.
const carrierTime = 2 * time.Minute
