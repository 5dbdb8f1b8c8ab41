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

// tcpEstablished is TCP_ESTABLISHED of the kernel.
const tcpEstablished = 1

// session is an established TCP connection.
type session struct {
	localPort uint16
	peer      netip.Addr
}

// sshPeers returns who is connected to one of our ports. The IPv4 peers of a
// dual-stack server appear under IPv6, mapped.
func sshPeers(ports []uint16) ([]netip.Addr, error) {
	sessions, err := diagnose()
	if err != nil {
		// inet_diag is a module, and may be missing or forbidden.
		var procErr error
		if sessions, procErr = readProc(); procErr != nil {
			err = fmt.Errorf("read TCP connections: %w", errors.Join(err, procErr))
		} else {
			err = nil
		}
	}
	var peers []netip.Addr
	for _, s := range sessions {
		if slices.Contains(ports, s.localPort) {
			peers = append(peers, s.peer)
		}
	}
	slices.SortFunc(peers, netip.Addr.Compare)
	return slices.Compact(peers), err
}

// tcpDiagGetSock asks for TCP sockets of both families in one message. The
// kernel walks its whole table of connections for each answer, which on a large
// host takes longer than all else that a block needs, and the newer request is
// for one family.
const tcpDiagGetSock = 18

// diagRequest is struct inet_diag_req with everything but the states left zero.
// netlink's own request asks for all states, which on a busy host is most of the
// work.
type diagRequest struct{}

const (
	diagRequestLen = 60
	diagMessageLen = 72 // struct inet_diag_msg
)

func (diagRequest) Len() int { return diagRequestLen }

func (diagRequest) Serialize() []byte {
	b := make([]byte, diagRequestLen)
	binary.NativeEndian.PutUint32(b[52:], 1<<tcpEstablished)
	return b
}

func diagnose() ([]session, error) {
	return dump("socket diagnostics", func() ([]session, error) {
		req := nl.NewNetlinkRequest(tcpDiagGetSock, unix.NLM_F_DUMP)
		req.AddData(diagRequest{})
		msgs, err := req.Execute(unix.NETLINK_INET_DIAG, tcpDiagGetSock)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, err
		}
		var sessions []session
		for _, m := range msgs {
			s, parseErr := parseDiag(m)
			if parseErr != nil {
				return nil, parseErr
			}
			sessions = append(sessions, s)
		}
		return sessions, err
	})
}

// parseDiag reads struct inet_diag_msg: family at 0, then from 4 on the ports
// and from 8 on the addresses, local first, in network order.
func parseDiag(b []byte) (session, error) {
	if len(b) < diagMessageLen {
		return session{}, fmt.Errorf("socket message of %d bytes, want %d", len(b), diagMessageLen)
	}
	peer := netip.AddrFrom16([16]byte(b[24:40])).Unmap()
	if b[0] == unix.AF_INET {
		peer = netip.AddrFrom4([4]byte(b[24:28]))
	}
	return session{localPort: binary.BigEndian.Uint16(b[4:]), peer: peer}, nil
}

// readProc returns the sessions of both families; a kernel without IPv6 has no
// file of it.
func readProc() ([]session, error) {
	all, err := readProcFile("/proc/net/tcp")
	if err != nil {
		return nil, err
	}
	ipv6, err := readProcFile("/proc/net/tcp6")
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	return append(all, ipv6...), err
}

func readProcFile(name string) ([]session, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sessions, err := parseProc(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return sessions, nil
}

// parseProc reads the lines of /proc/net/tcp, see proc_net_tcp in the kernel's
// documentation, that are established: "N: LOCAL:PORT PEER:PORT STATE …".
func parseProc(r io.Reader) ([]session, error) {
	var sessions []session
	lines := bufio.NewScanner(r)
	lines.Scan() // the heading
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 {
			return nil, fmt.Errorf("line %q: too short", lines.Text())
		}
		if fields[3] != fmt.Sprintf("%02X", tcpEstablished) {
			continue
		}
		_, port, _ := strings.Cut(fields[1], ":")
		local, err := strconv.ParseUint(port, 16, 16)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		addr, _, _ := strings.Cut(fields[2], ":")
		peer, err := parseProcAddr(addr)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		sessions = append(sessions, session{uint16(local), peer})
	}
	return sessions, lines.Err()
}

// parseProcAddr reads an address that was printed as 32-bit words in the
// byte order of the machine.
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
