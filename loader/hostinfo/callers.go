package hostinfo

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// callers finds the sessions of users who send requests to the daemon from a terminal. Such a
// session may be one of any program that gives a remote user a terminal, not only of an SSH
// server that logins knows.
//
// One of the ancestors of the user's process holds the connection. It counts only if the
// process has a controlling terminal, and if that ancestor serves this one peer. A web
// application that blocks its visitors has no terminal, and a server that serves many peers does
// not show which of them the request comes from.
type callers struct {
	known map[login][]netip.Addr // by the process that holds the connection
}

const (
	mostAncestors   = 32   // that are looked at
	mostDescriptors = 1024 // of each of them; a server hands a connection over by a low number
	mostCallers     = 64   // sessions that are remembered; root may add as many again
)

// NoteCaller remembers the session from which a process sends a request, if it has one. Read
// returns its peer among the SSH peers until the process that holds the connection has ended. pid
// is 0 if the process is not known. A process that has ended has no session. Callers other than
// root cannot use up what root may add.
func (r *Reader) NoteCaller(pid int, root bool) error {
	key, peers, err := callerOf(r.logins.proc, pid)
	if err != nil {
		return fmt.Errorf("find the session of process %d: %w", pid, err)
	}
	if len(peers) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known, most := r.logins.callers.open(r.logins.proc), mostCallers
	if root {
		most *= 2
	}
	if len(known) < most {
		known[key] = peers
	}
	return nil
}

// open forgets the sessions whose processes have ended, and returns the others.
func (c *callers) open(proc string) map[login][]netip.Addr {
	open := make(map[login][]netip.Addr)
	for key, peers := range c.known {
		if a, err := readAncestor(proc, key.pid); err == nil && a.start == key.start {
			open[key] = peers
		}
	}
	c.known = open
	return open
}

// callerOf returns the process among a process and its ancestors that holds the connection of
// the session, and the peer.
func callerOf(proc string, pid int) (login, []netip.Addr, error) {
	a, err := readAncestor(proc, pid)
	if err == nil && a.terminal == 0 {
		return login{}, nil, nil
	}
	var tcp *tcpTable
	for range mostAncestors {
		var inodes []uint32
		if pid > 1 && err == nil {
			inodes, err = lowSockets(proc, pid)
		}
		if pid <= 1 || isGone(err) {
			return login{}, nil, nil
		}
		if err == nil && len(inodes) > 0 && tcp == nil {
			tcp, err = readTCP()
		}
		if err != nil {
			return login{}, nil, err
		}
		switch peers := tcp.servedPeers(inodes); len(peers) {
		case 0:
		case 1:
			return login{pid, a.start}, peers, nil
		default:
			return login{}, nil, nil
		}
		pid = a.parent
		a, err = readAncestor(proc, pid)
	}
	return login{}, nil, nil
}

// lowSockets returns the inodes of the sockets among the lowest descriptors of a process.
func lowSockets(proc string, pid int) ([]uint32, error) {
	dir := fmt.Sprintf("%s/%d/fd", proc, pid)
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(mostDescriptors) // in ascending order
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var inodes []uint32
	for _, name := range names {
		inode, isSocket, err := socketInode(dir + "/" + name)
		if err != nil && !isGone(err) {
			return nil, err
		}
		if isSocket {
			inodes = append(inodes, inode)
		}
	}
	return inodes, nil
}

// servedPeers returns the peers of established connections among sockets to ports on which a
// process of this host listens, each once. Loopback is no remote peer.
func (t *tcpTable) servedPeers(inodes []uint32) []netip.Addr {
	var peers []netip.Addr
	for _, inode := range inodes {
		s, ok := t.byInode[inode]
		if !ok || s.state != tcpEstablished || !t.listening[s.localPort] || s.peer.IsLoopback() {
			continue
		}
		if !slices.Contains(peers, s.peer) {
			peers = append(peers, s.peer)
		}
	}
	return peers
}

// ancestor is a process, as far as its session is concerned.
type ancestor struct {
	parent   int
	start    uint64 // in clock ticks since boot
	terminal int    // number of the controlling terminal; 0 is none
}

// readAncestor reads a process. It fails with fs.ErrNotExist if the process has ended.
func readAncestor(proc string, pid int) (ancestor, error) {
	stat, err := os.ReadFile(fmt.Sprintf("%s/%d/stat", proc, pid))
	if err != nil {
		return ancestor{}, err
	}
	const terminalField = 4 // after the name
	parent, start, err := parseStat(string(stat))
	if err != nil {
		return ancestor{}, err
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	terminal, err := strconv.Atoi(fields[terminalField])
	return ancestor{parent, start, terminal}, err
}
