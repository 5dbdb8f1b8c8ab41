package control

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// conn is one accepted connection and the process at its other end.
type conn struct {
	net.Conn
	caller Caller
	table  *connTable

	// Under table.mu.
	busy  bool   // a request was read and is being handled
	since uint64 // order of the last change of busy
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.table.remove(c)
	return c.Conn.Close()
}

// connTable bounds the number of connections, in all and per uid. A new one over
// the limit replaces an idle one, which has no request at work: the one that has
// been idle for longest, of the process that has most idle ones. So idle
// connections never keep a caller out, and a process that opens them as fast as
// it can closes only its own. Of max, as many as one uid may have are for root alone.
type connTable struct {
	max, maxPerUID int

	mu     sync.Mutex
	clock  uint64
	conns  map[*conn]struct{}
	perUID map[uint32]int
}

func newConnTable(total, perUID int) *connTable {
	return &connTable{max: total, maxPerUID: perUID, conns: map[*conn]struct{}{}, perUID: map[uint32]int{}}
}

// add adds c, and closes an idle connection if needed. It returns false if none of
// those that could make room is idle.
func (t *connTable) add(c *conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	var mayGo func(*conn) bool
	switch {
	case t.perUID[c.caller.UID] >= t.maxPerUID:
		mayGo = func(o *conn) bool { return !o.busy && o.caller.UID == c.caller.UID }
	case c.caller.UID != 0 && len(t.conns)-t.perUID[0] >= t.max-t.maxPerUID:
		mayGo = func(o *conn) bool { return !o.busy && o.caller.UID != 0 }
	}
	if mayGo != nil {
		oldest := t.oldest(mayGo)
		if oldest == nil {
			return false
		}
		t.removeLocked(oldest)
		oldest.Conn.Close()
	}
	t.clock++
	c.since = t.clock
	t.conns[c] = struct{}{}
	t.perUID[c.caller.UID]++
	return true
}

// oldest returns the connection to close, among those that may go.
func (t *connTable) oldest(mayGo func(*conn) bool) *conn {
	ofProcess := map[int32]int{}
	for c := range t.conns {
		if mayGo(c) {
			ofProcess[c.caller.PID]++
		}
	}
	var oldest *conn
	for c := range t.conns {
		if !mayGo(c) {
			continue
		}
		if oldest == nil || cmp.Or(
			cmp.Compare(ofProcess[oldest.caller.PID], ofProcess[c.caller.PID]),
			cmp.Compare(c.since, oldest.since)) < 0 {
			oldest = c
		}
	}
	return oldest
}

// setBusy records whether c has a request at work. A busy connection is not closed
// to make room. It returns false if c has been closed already.
func (t *connTable) setBusy(c *conn, busy bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.conns[c]; !ok {
		return false
	}
	t.clock++
	c.busy, c.since = busy, t.clock
	return true
}

// state is http.Server.ConnState: a connection is idle once the whole answer is
// written, which is after the handler has returned.
func (t *connTable) state(nc net.Conn, state http.ConnState) {
	if state == http.StateIdle {
		t.setBusy(nc.(*conn), false)
	}
}

// closeIdle closes the idle connections. http.Server.Shutdown would wait seconds
// for a connection that never had a request.
func (t *connTable) closeIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		if !c.busy {
			t.removeLocked(c)
			c.Conn.Close()
		}
	}
}

func (t *connTable) remove(c *conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeLocked(c)
}

func (t *connTable) removeLocked(c *conn) {
	if _, ok := t.conns[c]; !ok {
		return
	}
	delete(t.conns, c)
	if t.perUID[c.caller.UID]--; t.perUID[c.caller.UID] == 0 {
		delete(t.perUID, c.caller.UID)
	}
}

// peerListener accepts connections, identifies their callers and fills the table.
type peerListener struct {
	net.Listener
	table *connTable
	log   *slog.Logger
}

// Accept implements net.Listener.
func (l *peerListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		caller, err := PeerOf(nc)
		if err != nil {
			l.log.Warn("control: connection closed", "error", err)
			nc.Close()
			continue
		}
		c := &conn{Conn: nc, caller: caller, table: l.table}
		if l.table.add(c) {
			return c, nil
		}
		l.log.Warn("control: connection closed: too many connections have requests at work", "uid", caller.UID)
		nc.Close()
	}
}

// PeerOf asks the kernel who connected. The other end cannot lie about it.
func PeerOf(nc net.Conn) (Caller, error) {
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		return Caller{}, fmt.Errorf("identify peer: %T is not a Unix socket connection", nc)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return Caller{}, fmt.Errorf("identify peer: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err == nil {
		err = credErr
	}
	if err != nil {
		return Caller{}, fmt.Errorf("identify peer: %w", err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return Caller{}, fmt.Errorf("read the clock: %w", err)
	}
	return Caller{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid, Accepted: time.Duration(now.Nano())}, nil
}

type connKey struct{}

func withConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

func connOf(ctx context.Context) *conn {
	return ctx.Value(connKey{}).(*conn)
}
