package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Server is a UDP service on the host: it counts datagrams by source and answers each with the
// same bytes.
type Server struct {
	conn *net.UDPConn
	done chan struct{}

	mu       sync.Mutex
	sources  map[netip.Addr]int
	total    int
	keep     bool
	kept     []Datagram
	markers  uint64 // markers sent by drain
	lastSeen uint64 // number of the last marker received
}

// A Datagram is a received datagram.
type Datagram struct {
	Source netip.Addr
	At     time.Time // by the kernel's clock, after XDP
	Data   []byte
}

// Serve starts a server on port, for both families.
func Serve(port uint16) (*Server, error) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
	if err != nil {
		return nil, fmt.Errorf("serve UDP port %d: %w", port, err)
	}
	if err := configure(conn); err != nil {
		return nil, errors.Join(fmt.Errorf("serve UDP port %d: %w", port, err), conn.Close())
	}
	s := &Server{conn: conn, done: make(chan struct{}), sources: make(map[netip.Addr]int)}
	go s.run()
	return s, nil
}

// configure sets a large receive buffer and asks for time stamps.
func configure(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var buffer, stamps error
	err = raw.Control(func(fd uintptr) {
		buffer = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
		stamps = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	})
	if err := errors.Join(err, stamps); err != nil {
		return fmt.Errorf("ask for time stamps: %w", err)
	}
	if buffer != nil {
		return fmt.Errorf("set receive buffer: %w", buffer)
	}
	return nil
}

func (s *Server) run() {
	defer close(s.done)
	buf, control := make([]byte, 2048), make([]byte, 128)
	for {
		n, controlled, _, from, err := s.conn.ReadMsgUDPAddrPort(buf, control)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			continue // an ICMP error in reply to an answer
		}
		if s.take(from.Addr().Unmap(), buf[:n], control[:controlled]) {
			continue
		}
		// Multicast and broadcast sources cannot be answered.
		if _, err := s.conn.WriteToUDPAddrPort(buf[:n], from); errors.Is(err, syscall.EBADF) {
			return
		}
	}
}

// take counts a datagram, and reports whether it is a marker, which is not counted.
func (s *Server) take(from netip.Addr, data, control []byte) (marker bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if number, ok := markerNumber(data); ok && from.IsLoopback() {
		s.lastSeen = max(s.lastSeen, number)
		return true
	}
	s.sources[from]++
	s.total++
	if s.keep {
		s.kept = append(s.kept, Datagram{Source: from, At: stampOf(control), Data: bytes.Clone(data)})
	}
	return false
}

// stampOf returns the kernel's time stamp, or zero if there is none.
func stampOf(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Time{}
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Time{}
}

// Keep makes the server keep the datagrams that it receives from now on.
func (s *Server) Keep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep = true
}

// Kept returns the datagrams received since Keep, in the order of their arrival.
func (s *Server) Kept() []Datagram {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.kept)
}

// Sources returns the number of datagrams from each source.
func (s *Server) Sources() map[netip.Addr]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.sources)
}

// Settle waits until want datagrams have arrived in total, or none has arrived for the quiet time.
// It returns the total. Tests use Wire.Settle, which does not depend on time; the demo does not,
// because the frame that Wire.Settle sends would show in the statistics.
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

// drain waits until every datagram in the socket's queue has been read. It sends one more over the
// loopback interface, which is read after them.
func (s *Server) drain(ctx context.Context) error {
	s.mu.Lock()
	s.markers++
	number := s.markers
	s.mu.Unlock()
	port := s.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	loopback := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
	if _, err := s.conn.WriteToUDPAddrPort(markerDatagram(number), loopback); err != nil {
		return fmt.Errorf("send a marker to the server: %w", err)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		seen := s.lastSeen >= number
		s.mu.Unlock()
		if seen {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the server to read what has arrived: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

func markerDatagram(number uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, syncMagic), number)
}

func markerNumber(data []byte) (uint64, bool) {
	if len(data) != 16 || binary.BigEndian.Uint64(data) != syncMagic {
		return 0, false
	}
	return binary.BigEndian.Uint64(data[8:]), true
}

// Close stops the server.
func (s *Server) Close() error {
	err := s.conn.Close()
	<-s.done
	return err
}
