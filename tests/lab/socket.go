package lab

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// receiveBuffer holds a burst of 200,000 small frames, in bytes.
const receiveBuffer = 256 << 20

// socket is a packet socket on one interface.
type socket struct{ fd int }

// openSocketAt opens a socket in another network namespace. The socket stays in that namespace,
// whichever thread uses it.
func openSocketAt(ns netns.NsHandle, index int, protocol uint16) (*socket, error) {
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	defer here.Close()
	if err := netns.Set(ns); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("enter the peer's namespace: %w", err)
	}
	s, err := openSocket(index, protocol)
	if back := netns.Set(here); back != nil {
		// The thread stays locked, so that it ends with its goroutine.
		return nil, errors.Join(err, fmt.Errorf("return to network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return s, err
}

// openSocket opens a packet socket on the interface with the given index that receives protocol, or
// nothing if protocol is 0.
func openSocket(index int, protocol uint16) (*socket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	s := &socket{fd}
	if err := s.bind(index, protocol); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *socket) bind(index int, protocol uint16) error {
	if protocol != 0 {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return fmt.Errorf("ignore outgoing packets: %w", err)
		}
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer); err != nil {
			return fmt.Errorf("set receive buffer: %w", err)
		}
	}
	address := &unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: index}
	if err := unix.Bind(s.fd, address); err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

// send sends a frame, and retries while the receiver's ring is full.
func (s *socket) send(frame []byte) error {
	for {
		_, err := unix.Write(s.fd, frame)
		if !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return err
		}
		runtime.Gosched()
	}
}

// lost returns how many frames did not fit the receive buffer since the last call.
func (s *socket) lost() (uint32, error) {
	stats, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("read packet statistics: %w", err)
	}
	return stats.Drops, nil
}

// Close closes the socket.
func (s *socket) Close() error { return unix.Close(s.fd) }
