package hostinfo

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// logins finds the peers of authenticated SSH sessions. A connection to an SSH server is not
// enough, because anyone can open one and say nothing.
//
// The processes show which connections are authenticated. OpenSSH writes the user's name into
// the title of the process of a session, and a state in brackets into all other titles. A
// process of dropbear has a child once its user is authenticated. Both are found on any port,
// also when the listening server has ended.
//
// The peer of a session never changes. So the sockets of a process are read once, and the
// kernel's table of TCP connections is read only after a session has begun.
type logins struct {
	proc   string // the directory of processes
	known  map[login][]netip.Addr
	others others
}

// login is the process of an authenticated session. The time of its start tells it from a later
// process with the same number.
type login struct {
	pid   int
	start uint64
}

// peers returns the peers of the sessions that are open now.
func (l *logins) peers() ([]netip.Addr, error) {
	procs, err := l.servers()
	if err != nil {
		return nil, fmt.Errorf("read SSH sessions: %w", err)
	}
	open := make(map[login][]netip.Addr)
	var tcp *tcpTable
	var errs []error
	for _, p := range procs {
		if !p.loggedIn(procs) {
			continue
		}
		key := login{p.pid, p.start}
		addrs, known := l.known[key]
		if !known {
			if tcp == nil {
				if tcp, err = readTCP(); err != nil {
					return nil, err
				}
			}
			if addrs, err = l.peersOf(p, procs, tcp); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		open[key] = addrs
	}
	l.known = open
	var peers []netip.Addr
	for _, addrs := range open {
		peers = append(peers, addrs...)
	}
	slices.SortFunc(peers, netip.Addr.Compare)
	return slices.Compact(peers), errors.Join(errs...)
}

// tcpTable is the kernel's table of TCP sockets that are established or listen.
type tcpTable struct {
	byInode   map[uint32]socket
	listening map[uint16]bool // local ports
}

func readTCP() (*tcpTable, error) {
	all, err := sockets(tcpEstablished, tcpListen)
	if err != nil {
		return nil, err
	}
	t := &tcpTable{make(map[uint32]socket, len(all)), make(map[uint16]bool)}
	for _, s := range all {
		t.byInode[s.inode] = s
		if s.state == tcpListen {
			t.listening[s.localPort] = true
		}
	}
	return t, nil
}

// peersOf returns the peers of a session. The process of a session may also hold the sockets
// that it forwards, whose peers are not the user. Of an OpenSSH session that has a monitor, the
// sockets of the monitor are read, because it forwards nothing.
func (l *logins) peersOf(p process, procs map[int]process, tcp *tcpTable) ([]netip.Addr, error) {
	holder := p
	if monitor, ok := procs[p.parent]; ok && monitor.isMonitor() {
		holder = monitor
	}
	inodes, err := socketsOf(l.proc, holder.pid)
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read from where the SSH session of process %d (%s) is open: %w; "+
			"give the daemon CAP_SYS_PTRACE", p.pid, p.title, err)
	}
	return tcp.sessionPeers(inodes), nil
}

// sessionPeers returns the peer of the session whose process holds these sockets. If no process
// listens any more, it is the peer of the connection that was opened first.
func (t *tcpTable) sessionPeers(inodes []uint32) []netip.Addr {
	found := t.peers(inodes)
	if len(found.served) > 0 {
		return found.served
	}
	return found.all[:min(len(found.all), 1)]
}

// processPeers are the peers of the established connections of one process.
type processPeers struct {
	served []netip.Addr // to a port on which another process listens
	own    []netip.Addr // to a port on which the process itself listens, perhaps to forward
	all    []netip.Addr // but those in own
}

func (t *tcpTable) peers(inodes []uint32) (p processPeers) {
	own := make(map[uint16]bool)
	for _, inode := range inodes {
		if s := t.byInode[inode]; s.state == tcpListen {
			own[s.localPort] = true
		}
	}
	for _, inode := range inodes {
		s, ok := t.byInode[inode]
		switch {
		case !ok || s.state != tcpEstablished:
			continue
		case own[s.localPort]:
			p.own = append(p.own, s.peer)
			continue
		case t.listening[s.localPort]:
			p.served = append(p.served, s.peer)
		}
		p.all = append(p.all, s.peer)
	}
	return p
}

// socketsOf returns the inodes of the sockets of a process, ordered by descriptor.
func socketsOf(proc string, pid int) ([]uint32, error) {
	dir := fmt.Sprintf("%s/%d/fd", proc, pid)
	descriptors, err := readNumbered(dir)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(descriptors, func(a, b directory) int { return cmp.Compare(a.number, b.number) })
	var inodes []uint32
	for _, fd := range descriptors {
		inode, isSocket, err := socketInode(fmt.Sprintf("%s/%d", dir, fd.number))
		if err != nil && !isGone(err) {
			return nil, err
		}
		if isSocket {
			inodes = append(inodes, inode)
		}
	}
	return inodes, nil
}
