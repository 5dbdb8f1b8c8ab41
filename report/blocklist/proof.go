package blocklist

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// The states of a TCP connection in which the other end has answered, so that its address is
// not forged: include/net/tcp_states.h.
const (
	tcpEstablished = 1
	tcpCloseWait   = 8 // the other end has hung up
)

// peerOf returns the other end of a connection to one of the ports. A socket proves nothing unless
// the kernel has shaken hands with the other end: a UDP socket is connected to any address without
// a packet, and a connection to another host is the program's own choice.
func peerOf(fd int, ports []uint16) (netip.Addr, error) {
	var none netip.Addr
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return none, fmt.Errorf("the descriptor is no socket: %w", err)
	} else if kind != unix.SOCK_STREAM {
		return none, errors.New("the socket is no stream, and its other end may be invented")
	}
	protocol, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil || protocol != unix.IPPROTO_TCP && protocol != unix.IPPROTO_MPTCP {
		return none, errors.New("the socket is not one of TCP")
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return none, fmt.Errorf("read the state of the connection: %w", err)
	}
	if info.State != tcpEstablished && info.State != tcpCloseWait {
		return none, errors.New("the connection is not established")
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		return none, fmt.Errorf("read the local port of the connection: %w", err)
	}
	if own := addrPort(local); !slices.Contains(ports, own.Port()) {
		return none, fmt.Errorf("the connection has the local port %d, which is not one of the reporter's "+
			"(reports.reporters.ports)", own.Port())
	}
	other, err := unix.Getpeername(fd)
	if err != nil {
		return none, fmt.Errorf("read the other end of the connection: %w", err)
	}
	return addrPort(other).Addr(), nil
}

// addrPort returns the address and port of a socket; zero if it is not one of IP.
func addrPort(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
