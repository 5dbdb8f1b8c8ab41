package metrics

import (
	"net"
	"sync"
)

// peerConn is one accepted connection.
type peerConn struct {
	net.Conn
	peer  string
	table *connTable
}

// Close implements net.Conn.
func (c *peerConn) Close() error {
	c.table.remove(c)
	return c.Conn.Close()
}

// connTable bounds the connections, in all and per peer. A new connection is always
// accepted. If it exceeds a bound, the oldest connection of a peer is closed: of the same
// peer if that has too many, otherwise of the one that has most. So a peer that opens
// connections as fast as it can closes its own.
type connTable struct {
	max, maxPerPeer int

	mu    sync.Mutex
	total int
	peers map[string][]*peerConn // oldest first
}

func newConnTable(total, perPeer int) *connTable {
	return &connTable{max: total, maxPerPeer: perPeer, peers: map[string][]*peerConn{}}
}

func (t *connTable) add(c *peerConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var loser string
	switch {
	case len(t.peers[c.peer]) >= t.maxPerPeer:
		loser = c.peer
	case t.total >= t.max:
		for peer, conns := range t.peers {
			if len(conns) > len(t.peers[loser]) {
				loser = peer
			}
		}
	}
	if conns := t.peers[loser]; len(conns) > 0 {
		oldest := conns[0]
		t.removeLocked(oldest)
		oldest.Conn.Close()
	}
	t.peers[c.peer] = append(t.peers[c.peer], c)
	t.total++
}

func (t *connTable) remove(c *peerConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeLocked(c)
}

// removeLocked removes c if it is in the table.
func (t *connTable) removeLocked(c *peerConn) {
	for i, other := range t.peers[c.peer] {
		if other != c {
			continue
		}
		t.total--
		// A new slice does not keep the removed connection in memory.
		rest := append([]*peerConn(nil), t.peers[c.peer][:i]...)
		if rest = append(rest, t.peers[c.peer][i+1:]...); len(rest) == 0 {
			delete(t.peers, c.peer)
		} else {
			t.peers[c.peer] = rest
		}
		return
	}
}

// boundListener enters the connections that it accepts in a table.
type boundListener struct {
	net.Listener
	table *connTable
	peer  func(net.Conn) string
}

// Accept implements net.Listener.
func (l *boundListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	bound := &peerConn{Conn: c, peer: l.peer(c), table: l.table}
	l.table.add(bound)
	return bound, nil
}
