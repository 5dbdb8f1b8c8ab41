package hostinfo

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"
)

// A terminal server is a process that gives terminals to people at other hosts: sshd, telnetd,
// ttyd and the like. It has no terminal itself, and it is the parent of the process to which it
// gave one. Its connection is the way to the person.
//
// The terminal tells such a process from a service. A web application that calls paraxialctl
// also has a connection, to the client that it wants to block.

// maxAncestors bounds the way from a process to its terminal server.
const maxAncestors = 64

// init adopts processes whose parent has ended, so it is no terminal server.
const initPID = 1

// processStat has fields of /proc/PID/stat.
type processStat struct {
	parent   int
	start    uint64 // in clock ticks since boot
	terminal bool   // it has a controlling terminal
}

// ticksPerSecond is USER_HZ, in which the kernel tells user space the time of a start.
const ticksPerSecond = 100

// CallerPeer returns the peer of the connection through which a person controls a process, or
// the zero address if there is none, or if the last Read has found it as an SSH peer. The process
// had the number pid at a time since boot. A process that started later has got its number.
func (r *Reader) CallerPeer(pid int, at time.Duration) (netip.Addr, error) {
	server, ok, err := r.logins.terminalServerOf(pid, uint64(at/(time.Second/ticksPerSecond)))
	if err != nil || !ok || r.isLogin(server) {
		return netip.Addr{}, err
	}
	tcp, err := readTCP()
	if err != nil {
		return netip.Addr{}, err
	}
	return r.logins.terminalPeer(server.pid, tcp)
}

// isLogin reports whether the last Read has found the peer of a process. The walk of the kernel's
// table of connections is saved then, which takes long on a busy host.
func (r *Reader) isLogin(p login) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.logins.known[p]) > 0
}

// TerminalPeers returns the peers of all terminal servers. A user without rights can be one, so
// a peer is to be protected only if it is known from elsewhere. It reads all processes.
func (r *Reader) TerminalPeers() ([]netip.Addr, error) {
	servers, err := r.logins.terminalServers()
	if err != nil {
		return nil, err
	}
	tcp, err := readTCP()
	if err != nil {
		return nil, err
	}
	var peers []netip.Addr
	for pid := range servers {
		peer, err := r.logins.terminalPeer(pid, tcp)
		if err != nil {
			return nil, err
		}
		if peer.IsValid() {
			peers = append(peers, peer)
		}
	}
	return peers, nil
}

// terminalServerOf returns the first ancestor of a process without a terminal, if the process
// and all ancestors in between have one, as su, sudo and shells do. ok is false if there is none,
// or if the process started later than a time in clock ticks.
func (l *logins) terminalServerOf(pid int, latest uint64) (server login, ok bool, err error) {
	for i := range maxAncestors {
		s, err := readStat(l.proc, pid)
		switch {
		case isGone(err):
			return login{}, false, nil
		case err != nil:
			return login{}, false, fmt.Errorf("read from where the caller is connected: %w", err)
		case s.start > latest:
			return login{}, false, nil // another process has the number now
		case !s.terminal:
			return login{pid, s.start}, i > 0, nil
		case s.parent <= initPID:
			return login{}, false, nil
		}
		pid, latest = s.parent, s.start
	}
	return login{}, false, nil
}

// terminalServers returns the processes without a terminal that have a child with one.
func (l *logins) terminalServers() (map[int]bool, error) {
	pids, err := readNumbered(l.proc)
	if err != nil {
		return nil, err
	}
	all := make(map[int]processStat, len(pids))
	for _, d := range pids {
		s, err := readStat(l.proc, d.number)
		if err != nil && !isGone(err) {
			return nil, err
		}
		if err == nil {
			all[d.number] = s
		}
	}
	servers := make(map[int]bool)
	for _, s := range all {
		if parent, ok := all[s.parent]; s.terminal && ok && !parent.terminal && s.parent != initPID {
			servers[s.parent] = true
		}
	}
	return servers, nil
}

// terminalPeer returns the peer of a terminal server, or the zero address. If the server has
// connections from several peers, nothing tells which one is the person's. Anyone may have
// opened the others, so none is returned.
func (l *logins) terminalPeer(pid int, tcp *tcpTable) (netip.Addr, error) {
	inodes, err := socketsOf(l.proc, pid)
	if isGone(err) {
		return netip.Addr{}, nil
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("read the connections of process %d, which serves a terminal: %w; "+
			"give the daemon CAP_SYS_PTRACE", pid, err)
	}
	found := tcp.peers(inodes)
	peers := found.served
	if len(peers) == 0 {
		peers = found.own // a server of one process
	}
	slices.SortFunc(peers, netip.Addr.Compare)
	if peers = slices.Compact(peers); len(peers) != 1 {
		return netip.Addr{}, nil
	}
	return peers[0], nil
}

// readStat reads /proc/PID/stat.
func readStat(proc string, pid int) (processStat, error) {
	text, err := os.ReadFile(fmt.Sprintf("%s/%d/stat", proc, pid))
	if err != nil {
		return processStat{}, err
	}
	return parseStat(string(text))
}
