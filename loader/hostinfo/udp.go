package hostinfo

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The kernel uses states of TCP for UDP sockets: established for one that is connected to a
// peer, closed for any other.
const (
	udpConnected   = 1
	udpUnconnected = 7
)

// udpSockets returns the UDP sockets of both families.
func udpSockets() ([]socket, error) {
	var all []socket
	var diagErr error
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := dump("UDP sockets", func() ([]*netlink.Socket, error) {
			return netlink.SocketDiagUDP(family)
		})
		diagErr = errors.Join(diagErr, err)
		for _, s := range sockets {
			all = append(all, udpSession(s))
		}
	}
	if diagErr == nil {
		return all, nil
	}
	// The module udp_diag may be missing or forbidden.
	all, procErr := readProc("/proc/net/udp", 1<<udpConnected|1<<udpUnconnected)
	if procErr != nil {
		return nil, fmt.Errorf("read UDP sockets: %w", errors.Join(diagErr, procErr))
	}
	return all, nil
}

func udpSession(s *netlink.Socket) socket {
	c := socket{state: s.State, localPort: s.ID.SourcePort, peerPort: s.ID.DestinationPort, inode: s.INode}
	if peer, ok := netip.AddrFromSlice(s.ID.Destination); ok {
		c.peer = peer.Unmap()
	}
	return c
}
