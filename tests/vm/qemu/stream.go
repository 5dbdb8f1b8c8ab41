package qemu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// A Socket is a Unix socket that a machine connects to when it starts.
type Socket struct {
	path     string
	listener *net.UnixListener
}

// Listen makes a socket.
func Listen(path string) (*Socket, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for the machine: %w", err)
	}
	return &Socket{path, l}, nil
}

// connectTime is many times what QEMU takes to start.
const connectTime = 2 * time.Minute

// Accept waits for the machine to connect, and stops listening.
func (s *Socket) Accept() (net.Conn, error) {
	defer s.listener.Close()
	if err := s.listener.SetDeadline(time.Now().Add(connectTime)); err != nil {
		return nil, err
	}
	c, err := s.listener.Accept()
	if err != nil {
		return nil, fmt.Errorf("wait for qemu to connect to %s: %w", s.path, err)
	}
	return c, nil
}

// Path returns the path of the socket.
func (s *Socket) Path() string { return s.path }

// A Stream is a network card with one queue that receives frames from a socket. It needs no
// privileges, and loses nothing.
type Stream struct {
	socket *Socket
	mu     sync.Mutex
	conn   net.Conn
}

// NewStream makes a Stream, with a socket in dir.
func NewStream(dir string) (*Stream, error) {
	s, err := Listen(filepath.Join(dir, "card"))
	if err != nil {
		return nil, err
	}
	return &Stream{socket: s}, nil
}

// Netdev returns the argument for QEMU.
func (s *Stream) Netdev(id string) string {
	return "stream,id=" + id + ",server=off,addr.type=unix,addr.path=" + s.socket.path
}

// Files returns the files that QEMU inherits: none.
func (s *Stream) Files() []*os.File { return nil }

// Connect waits for QEMU to connect. Output of the machine is discarded.
func (s *Stream) Connect() error {
	c, err := s.socket.Accept()
	if err != nil {
		return err
	}
	go io.Copy(io.Discard, c)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = c
	return nil
}

// Reopen prepares the card for Connect with another machine, after the previous one has ended.
func (s *Stream) Reopen() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
	s.socket, err = Listen(s.socket.path)
	return err
}

// ErrOff means that no machine is running to take a frame.
var ErrOff = errors.New("the machine is off")

// Send sends a frame to the machine, and blocks while the machine does not accept any.
func (s *Stream) Send(frame []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return ErrOff
	}
	_, err := s.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	switch {
	case errors.Is(err, net.ErrClosed):
		return nil // the test has ended
	case errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		return ErrOff
	}
	return err
}

// Close closes the connection.
func (s *Stream) Close() error {
	if s.conn == nil {
		return s.socket.listener.Close()
	}
	return s.conn.Close()
}
