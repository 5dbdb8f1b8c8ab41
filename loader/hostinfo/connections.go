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

// Connection is an established TCP connection of this host, or a UDP socket that is connected
// to a peer.
type Connection struct {
	Protocol string // tcp or udp
	Peer     netip.Addr
	Inbound  bool   // to a port on which a socket of this host listens
	Port     uint16 // of the service: the local port if inbound, otherwise that of the peer
	inode    uint32
}

// Connections returns the connections whose peer is wanted.
func Connections(wanted func(peer netip.Addr) bool) ([]Connection, error) {
	tcp, err := sockets(tcpEstablished, tcpListen)
	if err != nil {
		return nil, err
	}
	udp, err := udpSockets()
	if err != nil {
		return nil, err
	}
	list := connected("tcp", tcp, tcpEstablished, wanted)
	return append(list, connected("udp", udp, udpConnected, wanted)...), nil
}

// connected returns the sockets in the given state whose peer is wanted. Sockets in another
// state show which local ports have listeners.
func connected(protocol string, all []socket, state uint8, wanted func(peer netip.Addr) bool) []Connection {
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
		c := Connection{Protocol: protocol, Peer: s.peer, Port: s.peerPort, inode: s.inode}
		if listening[s.localPort] {
			c.Inbound, c.Port = true, s.localPort
		}
		list = append(list, c)
	}
	return list
}

// UnconnectedUDP returns the number of UDP sockets of this host that are not connected to a
// peer. Connections does not return their peers.
func UnconnectedUDP() (n int, err error) {
	all, err := udpSockets()
	for _, s := range all {
		if s.state != udpConnected {
			n++
		}
	}
	return n, err
}

// Forwards tells whether this host forwards packets, as a host with containers does.
// Connections does not return forwarded connections.
func Forwards() bool {
	for _, name := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		if text, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(text)) != "0" {
			return true
		}
	}
	return false
}

// Owners returns the names of the processes that have the connections open, as far as this
// process may see them. The result has the length of the list.
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
		inode, isSocket, err := socketInode(fd)
		if err != nil || !isSocket {
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

// socketInode reads a link such as socket:[4711]. Sockets that no process has yet have inode
// 0.
func socketInode(fd string) (inode uint32, isSocket bool, err error) {
	target, err := os.Readlink(fd)
	if err != nil {
		return 0, false, err
	}
	digits, ok := strings.CutPrefix(target, "socket:[")
	if !ok {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(digits, "]"), 10, 32)
	return uint32(n), n != 0, err
}

func processName(dir string) string {
	name, err := os.ReadFile(filepath.Join(dir, "comm"))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s[%s]", strings.TrimSpace(string(name)), filepath.Base(dir))
}
