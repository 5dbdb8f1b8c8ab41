package hostinfo

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Connection is an established TCP connection of this host, or a UDP socket that is
// connected to a peer.
type Connection struct {
	Protocol string // tcp or udp
	Peer     netip.Addr
	Inbound  bool   // to a port on which somebody here listens
	Port     uint16 // of the service: ours if inbound, otherwise the peer's
	inode    uint32
}

// Connections returns the connections whose peer is wanted.
func Connections(wanted func(peer netip.Addr) bool) ([]Connection, error) {
	tcp, err := sessions(tcpEstablished, tcpListen)
	if err != nil {
		return nil, err
	}
	udp, err := udpSockets()
	if err != nil {
		return nil, err
	}
	return append(connected("tcp", tcp, tcpEstablished, wanted), connected("udp", udp, udpConnected, wanted)...), nil
}

// connected returns the sockets in that state whose peer is wanted; those in any
// other tell on which ports somebody listens.
func connected(protocol string, all []session, state uint8, wanted func(peer netip.Addr) bool) []Connection {
	listening := make(map[uint16]bool)
	for _, s := range all {
		if s.state != state {
			listening[s.localPort] = true
		}
	}
	var list []Connection
	for _, s := range all {
		if s.state != state || !wanted(s.peer) {
			continue
		}
		c := Connection{Protocol: protocol, Peer: s.peer, Inbound: listening[s.localPort], Port: s.peerPort, inode: s.inode}
		if c.Inbound {
			c.Port = s.localPort
		}
		list = append(list, c)
	}
	return list
}

// Forwards tells whether this host passes packets on, as one with containers
// does. Their connections are not its own, and Connections does not see them.
func Forwards() bool {
	for _, name := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		if text, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(text)) != "0" {
			return true
		}
	}
	return false
}

// Owners tells which processes hold the connections, by name, as far as this
// process may see that. The result has the length of the list.
func Owners(list []Connection) [][]string {
	byInode := make(map[uint32][]int)
	for i, c := range list {
		byInode[c.inode] = append(byInode[c.inode], i)
	}
	owners := make([][]string, len(list))
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil || len(list) == 0 {
		return owners
	}
	for _, fd := range fds {
		inode, ok := socketInode(fd)
		if !ok {
			continue
		}
		for _, i := range byInode[inode] {
			name := processName(filepath.Dir(filepath.Dir(fd)))
			if name != "" && !slices.Contains(owners[i], name) {
				owners[i] = append(owners[i], name)
			}
		}
	}
	return owners
}

// socketInode reads a link such as socket:[4711]. Inode 0 is that of sockets that
// no process has yet.
func socketInode(fd string) (uint32, bool) {
	target, err := os.Readlink(fd)
	if err != nil {
		return 0, false
	}
	digits, ok := strings.CutPrefix(target, "socket:[")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 32)
	return uint32(n), err == nil && n != 0
}

func processName(dir string) string {
	name, err := os.ReadFile(filepath.Join(dir, "comm"))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s[%s]", strings.TrimSpace(string(name)), filepath.Base(dir))
}
