package hostinfo

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// TCP_ESTABLISHED and TCP_LISTEN of the kernel.
const (
	tcpEstablished = 1
	tcpListen      = 10
)

// socket is a TCP or UDP socket, usually an established connection. A listening socket has
// no peer.
type socket struct {
	state               uint8
	localPort, peerPort uint16
	peer                netip.Addr
	inode               uint32
}

// sockets returns the TCP sockets of both families in these states. IPv4 peers of a
// dual-stack server, which the kernel lists as mapped IPv6 addresses, are unmapped.
func sockets(states ...uint8) ([]socket, error) {
	var mask uint32
	for _, s := range states {
		mask |= 1 << s
	}
	all, err := diagnose(mask)
	if err == nil {
		return all, nil
	}
	// The module inet_diag may be missing or forbidden.
	all, procErr := readProc("/proc/net/tcp", mask)
	if procErr != nil {
		return nil, fmt.Errorf("read TCP connections: %w", errors.Join(err, procErr))
	}
	return all, nil
}

// tcpDiagGetSock requests the TCP sockets of both families in one message. The newer request
// is for one family. The kernel walks its whole table of connections for each request, which
// on a large host takes longer than the rest of a block.
const tcpDiagGetSock = 18

// diagRequest is struct inet_diag_req in which only the states are set. The request of package
// netlink is for all states, which on a busy host is most of the work.
type diagRequest struct{ states uint32 }

const (
	diagRequestLen = 60
	diagMessageLen = 72 // struct inet_diag_msg
)

func (diagRequest) Len() int { return diagRequestLen }

func (r diagRequest) Serialize() []byte {
	b := make([]byte, diagRequestLen)
	binary.NativeEndian.PutUint32(b[52:], r.states)
	return b
}

func diagnose(states uint32) ([]socket, error) {
	return dump("socket diagnostics", func() ([]socket, error) {
		req := nl.NewNetlinkRequest(tcpDiagGetSock, unix.NLM_F_DUMP)
		req.AddData(diagRequest{states})
		msgs, err := req.Execute(unix.NETLINK_INET_DIAG, tcpDiagGetSock)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, err
		}
		var sockets []socket
		for _, m := range msgs {
			s, parseErr := parseDiag(m)
			if parseErr != nil {
				return nil, parseErr
			}
			sockets = append(sockets, s)
		}
		return sockets, err
	})
}

// parseDiag reads struct inet_diag_msg: family and state, the ports at offset 4 and the
// addresses at offset 8, both local first and in network order, and the inode at the end.
func parseDiag(b []byte) (socket, error) {
	if len(b) < diagMessageLen {
		return socket{}, fmt.Errorf("socket message of %d bytes, want %d", len(b), diagMessageLen)
	}
	peer := netip.AddrFrom16([16]byte(b[24:40])).Unmap()
	if b[0] == unix.AF_INET {
		peer = netip.AddrFrom4([4]byte(b[24:28]))
	}
	return socket{
		state: b[1], localPort: binary.BigEndian.Uint16(b[4:]), peerPort: binary.BigEndian.Uint16(b[6:]),
		peer: peer, inode: binary.NativeEndian.Uint32(b[68:]),
	}, nil
}

// readProc returns the sockets of both families. A kernel without IPv6 has no file for it.
func readProc(name string, states uint32) ([]socket, error) {
	all, err := readProcFile(name, states)
	if err != nil {
		return nil, err
	}
	ipv6, err := readProcFile(name+"6", states)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	return append(all, ipv6...), err
}

func readProcFile(name string, states uint32) ([]socket, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sockets, err := parseProc(f, states)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return sockets, nil
}

// parseProc reads /proc/net/tcp or udp, which have the same format (proc_net_tcp in the
// documentation of the kernel), and returns the sockets in one of the states. A line is
// "N: LOCAL:PORT PEER:PORT STATE QUEUES TIMER RETRANSMITS UID TIMEOUT INODE …".
func parseProc(r io.Reader, states uint32) ([]socket, error) {
	var sockets []socket
	lines := bufio.NewScanner(r)
	lines.Scan() // the heading
	for lines.Scan() {
		s, err := parseProcLine(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		if states&(1<<s.state) != 0 {
			sockets = append(sockets, s)
		}
	}
	return sockets, lines.Err()
}

func parseProcLine(line string) (socket, error) {
	fields := strings.Fields(line)
	if len(fields) < 10 {
		return socket{}, errors.New("too short")
	}
	local, localPort, _ := strings.Cut(fields[1], ":")
	peer, peerPort, _ := strings.Cut(fields[2], ":")
	state, err1 := strconv.ParseUint(fields[3], 16, 5)
	lport, err2 := strconv.ParseUint(localPort, 16, 16)
	pport, err3 := strconv.ParseUint(peerPort, 16, 16)
	inode, err4 := strconv.ParseUint(fields[9], 10, 32)
	_, err5 := parseProcAddr(local)
	addr, err6 := parseProcAddr(peer)
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return socket{}, err
	}
	return socket{uint8(state), uint16(lport), uint16(pport), addr, uint32(inode)}, nil
}

// parseProcAddr reads an address that is printed as 32-bit words in native byte order.
func parseProcAddr(s string) (netip.Addr, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(b) != 4 && len(b) != 16 {
		return netip.Addr{}, fmt.Errorf("address %q: %d bytes", s, len(b))
	}
	for word := range slices.Chunk(b, 4) {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap(), nil
}
