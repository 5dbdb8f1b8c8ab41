package lab

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Server is a UDP service on the host: it counts datagrams by source and
// answers each with the same bytes.
type Server struct {
	conn *net.UDPConn
	done chan struct{}

	mu      sync.Mutex
	sources map[netip.Addr]int
	total   int
}

// Serve starts a server on port, for both families.
func Serve(port uint16) (*Server, error) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
	if err != nil {
		return nil, fmt.Errorf("serve UDP port %d: %w", port, err)
	}
	if err := forceBuffer(conn); err != nil {
		return nil, errors.Join(fmt.Errorf("serve UDP port %d: set receive buffer: %w", port, err), conn.Close())
	}
	s := &Server{conn: conn, done: make(chan struct{}), sources: make(map[netip.Addr]int)}
	go s.run()
	return s, nil
}

func forceBuffer(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	})
	return errors.Join(err, set)
}

func (s *Server) run() {
	defer close(s.done)
	buf := make([]byte, 2048)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			continue // an ICMP error that some answer provoked
		}
		s.mu.Lock()
		s.sources[from.Addr().Unmap()]++
		s.total++
		s.mu.Unlock()
		// Multicast and broadcast sources cannot be answered.
		if _, err := s.conn.WriteToUDPAddrPort(buf[:n], from); errors.Is(err, syscall.EBADF) {
			return
		}
	}
}

// Sources returns how many datagrams arrived from each source.
func (s *Server) Sources() map[netip.Addr]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.sources)
}

// Settle waits until no datagram is left unread: until want have arrived in
// all, or none arrived for the quiet time. It returns how many arrived in all.
func (s *Server) Settle(want int, quiet time.Duration) int {
	last, since := -1, time.Now()
	for {
		s.mu.Lock()
		total := s.total
		s.mu.Unlock()
		if total != last {
			last, since = total, time.Now()
		}
		if total >= want || time.Since(since) > quiet {
			return total
		}
		time.Sleep(time.Millisecond)
	}
}

// Close stops the server.
func (s *Server) Close() error {
	err := s.conn.Close()
	<-s.done
	return err
}
