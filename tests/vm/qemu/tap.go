package qemu

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Tap is a network card with several queues, in a separate network namespace. It needs root.
type Tap struct {
	queues []*os.File
	socket int
}

const tapName = "vm0"

// NewTap makes a Tap.
func NewTap(queues int) (*Tap, error) {
	t := &Tap{socket: -1}
	made := make(chan error)
	go func() {
		// The thread is never unlocked, so it ends with the goroutine; the descriptors keep the
		// namespace alive.
		runtime.LockOSThread()
		made <- t.make(queues)
	}()
	if err := <-made; err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Tap) make(queues int) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace (needs root): %w", err)
	}
	for range queues {
		if err := t.addQueue(); err != nil {
			return fmt.Errorf("make a queue of a tap: %w", err)
		}
	}
	if err := tapUp(); err != nil {
		return fmt.Errorf("set the tap up: %w", err)
	}
	card, err := net.InterfaceByName(tapName)
	if err != nil {
		return err
	}
	t.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a packet socket: %w", err)
	}
	return unix.Bind(t.socket, &unix.SockaddrLinklayer{Ifindex: card.Index})
}

func (t *Tap) addQueue() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	t.queues = append(t.queues, os.NewFile(uintptr(fd), "tap"))
	request, err := unix.NewIfreq(tapName)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE)
	return unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
}

// queueLength is more than any test sends before the machine reads: the default length overflows
// with an emulated machine.
const queueLength = 10000

func tapUp() error {
	// Otherwise the kernel would send more frames of its own than the test does.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+tapName+"/disable_ipv6", []byte("1"), 0); err != nil {
		return err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	for _, set := range []struct {
		command uint
		value   uint32
	}{{unix.SIOCSIFTXQLEN, queueLength}, {unix.SIOCSIFFLAGS, unix.IFF_UP}} {
		request, err := unix.NewIfreq(tapName)
		if err != nil {
			return err
		}
		request.SetUint32(set.value)
		if err := unix.IoctlIfreq(s, set.command, request); err != nil {
			return err
		}
	}
	return nil
}

// Netdev returns the argument for QEMU, which finds the queues from descriptor 3 on.
func (t *Tap) Netdev(id string) string {
	var fds []string
	for i := range t.queues {
		fds = append(fds, fmt.Sprint(3+i))
	}
	return "tap,id=" + id + ",vhost=off,fds=" + strings.Join(fds, ":")
}

// Files returns the files that QEMU inherits.
func (t *Tap) Files() []*os.File { return t.queues }

// Connect closes this process's copies of the queues: QEMU has inherited its own.
func (t *Tap) Connect() error {
	for _, f := range t.queues {
		f.Close()
	}
	t.queues = nil
	return nil
}

// tapPause is the pace at which an emulated machine can take frames.
const tapPause = 100 * time.Microsecond

// Send sends a frame to the machine.
func (t *Tap) Send(frame []byte) error {
	time.Sleep(tapPause)
	_, err := unix.Write(t.socket, frame)
	return err
}

// Close removes the tap.
func (t *Tap) Close() error {
	t.Connect()
	if t.socket < 0 {
		return nil
	}
	return unix.Close(t.socket)
}
