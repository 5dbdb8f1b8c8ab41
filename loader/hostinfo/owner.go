package hostinfo

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// PeerUID returns the uid that owns the other end of an established TCP connection. ok is
// false if the other end is not on this host, or was closed, or the kernel cannot tell.
func PeerUID(c net.Conn) (uid uint32, ok bool) {
	here, ok1 := c.LocalAddr().(*net.TCPAddr)
	there, ok2 := c.RemoteAddr().(*net.TCPAddr)
	if !ok1 || !ok2 {
		return 0, false
	}
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, 0)
	req.AddData(socketLookup{local: unmapped(there), remote: unmapped(here)})
	msgs, err := req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
	if err != nil || len(msgs) != 1 || len(msgs[0]) < diagMessageLen {
		return 0, false
	}
	// The kernel returns a listening socket if there is no connection, and uid 0 for a
	// closed one.
	m := msgs[0]
	if m[1] != tcpEstablished || binary.BigEndian.Uint16(m[6:]) != uint16(here.Port) {
		return 0, false
	}
	return binary.NativeEndian.Uint32(m[64:]), true
}

func unmapped(a *net.TCPAddr) netip.AddrPort {
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// socketLookup is struct inet_diag_req_v2 for one socket. The kernel finds it in its hash
// table, so the cost does not depend on the number of connections.
type socketLookup struct{ local, remote netip.AddrPort }

const socketLookupLen = 56

func (socketLookup) Len() int { return socketLookupLen }

func (l socketLookup) Serialize() []byte {
	b := make([]byte, socketLookupLen)
	b[0], b[1] = unix.AF_INET, unix.IPPROTO_TCP
	if l.local.Addr().Is6() {
		b[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(b[4:], 1<<tcpEstablished)
	binary.BigEndian.PutUint16(b[8:], l.local.Port())
	binary.BigEndian.PutUint16(b[10:], l.remote.Port())
	copy(b[12:28], l.local.Addr().AsSlice())
	copy(b[28:44], l.remote.Addr().AsSlice())
	binary.NativeEndian.PutUint64(b[48:], ^uint64(0)) // no cookie
	return b
}
