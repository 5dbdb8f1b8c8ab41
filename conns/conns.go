// Package conns bounds what callers can take from a server: connections, requests at work,
// and the time of a body. It learns from the kernel who calls.
package conns

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/paraxial/paraxial/warnings"
)

// Share tells how a connection counts.
type Share struct {
	Key   string // the user or address whose share of the table it takes
	Crowd string // the process, or what else may have too many of the connections of a key
	Root  bool   // may use the reserve
}

// Options bound a table of connections from peers of the type P.
type Options[P any] struct {
	Name    string // of the server, in the log
	Max     int    // connections in all
	PerKey  int    // connections with one Share.Key
	Reserve int    // of Max, for connections of root alone
	// PerSecond is the number of new connections of a Share.Key in a second. Others are closed
	// at once, which costs little. 0 is no bound.
	PerSecond int

	Peer  func(net.Conn) (P, error) // identifies the other end; after an error it is closed
	Share func(P) Share
	Log   *slog.Logger // for connections that are closed at once
}

// Conn is one accepted connection.
type Conn[P any] struct {
	net.Conn
	Peer  P
	share Share
	table *Table[P]

	// Under table.mu.
	busy  bool   // a request was read and is being handled
	since uint64 // order of the last change of busy
}

// Close implements net.Conn.
func (c *Conn[P]) Close() error {
	c.table.remove(c)
	return c.Conn.Close()
}

// Table bounds the number of connections. A new one over a bound replaces an idle one,
// which has no request at work: the one that has been idle for longest, of the crowd that
// has most idle ones. So idle connections never keep a peer out, and a process that opens
// them as fast as it can closes only its own.
type Table[P any] struct {
	opts Options[P]

	mu    sync.Mutex
	clock uint64
	conns map[*Conn[P]]struct{}
	byKey map[string]int
	root  int
}

// New returns a table.
func New[P any](o Options[P]) *Table[P] {
	return &Table[P]{opts: o, conns: map[*Conn[P]]struct{}{}, byKey: map[string]int{}}
}

// Listen returns a listener that enters the connections which l accepts in the table.
func (t *Table[P]) Listen(l net.Listener) net.Listener { return &listener[P]{Listener: l, table: t} }

type listener[P any] struct {
	net.Listener
	table *Table[P]

	// Of Accept, which one goroutine calls.
	second time.Time      // when counting began
	opened map[string]int // connections since then, by Share.Key

	complains warnings.Limiter // of connections that are closed at once
}

// tooMany counts a new connection, and reports whether it is beyond PerSecond.
func (l *listener[P]) tooMany(key string, now time.Time) bool {
	most := l.table.opts.PerSecond
	if most == 0 {
		return false
	}
	if l.opened == nil || now.Sub(l.second) >= time.Second {
		l.second, l.opened = now, make(map[string]int)
	}
	l.opened[key]++
	return l.opened[key] > most
}

// Accept implements net.Listener.
func (l *listener[P]) Accept() (net.Conn, error) {
	o := l.table.opts
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, err := o.Peer(nc)
		if err != nil {
			if l.complains.Due("no peer") {
				o.Log.Warn(o.Name+": connection closed", "error", err)
			}
			nc.Close()
			continue
		}
		c := &Conn[P]{Conn: nc, Peer: peer, share: o.Share(peer), table: l.table}
		if l.tooMany(c.share.Key, time.Now()) {
			nc.Close()
			continue
		}
		if l.table.add(c) {
			return c, nil
		}
		if l.complains.Due("no room") {
			o.Log.Warn(o.Name+": connections are closed: too many have requests at work", "peer", c.share.Key)
		}
		nc.Close()
	}
}

// add adds c, and closes an idle connection if needed. It returns false if none of
// those that could make room is idle.
func (t *Table[P]) add(c *Conn[P]) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	var mayGo func(*Conn[P]) bool
	switch {
	case t.byKey[c.share.Key] >= t.opts.PerKey:
		mayGo = func(o *Conn[P]) bool { return !o.busy && o.share.Key == c.share.Key }
	case !c.share.Root && len(t.conns)-t.root >= t.opts.Max-t.opts.Reserve:
		mayGo = func(o *Conn[P]) bool { return !o.busy && !o.share.Root }
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
	t.byKey[c.share.Key]++
	if c.share.Root {
		t.root++
	}
	return true
}

// oldest returns the connection to close, among those that may go.
func (t *Table[P]) oldest(mayGo func(*Conn[P]) bool) *Conn[P] {
	ofCrowd := map[string]int{}
	for c := range t.conns {
		if mayGo(c) {
			ofCrowd[c.share.Crowd]++
		}
	}
	var oldest *Conn[P]
	for c := range t.conns {
		if !mayGo(c) {
			continue
		}
		if oldest == nil || cmp.Or(
			cmp.Compare(ofCrowd[oldest.share.Crowd], ofCrowd[c.share.Crowd]),
			cmp.Compare(c.since, oldest.since)) < 0 {
			oldest = c
		}
	}
	return oldest
}

// SetBusy records whether c has a request at work. A busy connection is not closed to
// make room. It returns false if c has been closed already.
func (c *Conn[P]) SetBusy(busy bool) bool {
	t := c.table
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.conns[c]; !ok {
		return false
	}
	t.clock++
	c.busy, c.since = busy, t.clock
	return true
}

type key struct{}

// Context is http.Server.ConnContext. Of finds the connection in the context of a request.
func (t *Table[P]) Context(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, key{}, nc)
}

// Of returns the connection of a request.
func (t *Table[P]) Of(r *http.Request) *Conn[P] { return r.Context().Value(key{}).(*Conn[P]) }

// State is http.Server.ConnState: a connection is idle once the whole answer is
// written, which is after the handler has returned.
func (t *Table[P]) State(nc net.Conn, state http.ConnState) {
	if state == http.StateIdle {
		nc.(*Conn[P]).SetBusy(false)
	}
}

// CloseIdle closes the idle connections. http.Server.Shutdown would wait seconds
// for a connection that never had a request.
func (t *Table[P]) CloseIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		if !c.busy {
			t.removeLocked(c)
			c.Conn.Close()
		}
	}
}

func (t *Table[P]) remove(c *Conn[P]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeLocked(c)
}

func (t *Table[P]) removeLocked(c *Conn[P]) {
	if _, ok := t.conns[c]; !ok {
		return
	}
	delete(t.conns, c)
	if t.byKey[c.share.Key]--; t.byKey[c.share.Key] == 0 {
		delete(t.byKey, c.share.Key)
	}
	if c.share.Root {
		t.root--
	}
}
