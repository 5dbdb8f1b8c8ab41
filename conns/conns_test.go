package conns

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func callers(most, perKey int) *Table[Caller] {
	return New(Options[Caller]{Max: most, PerKey: perKey, Reserve: perKey, Share: Caller.Share})
}

// open enters a connection in a table, and reports whether it was accepted.
func open(t *testing.T, table *Table[Caller], c Caller) (*Conn[Caller], bool) {
	t.Helper()
	nc, other := net.Pipe()
	t.Cleanup(func() { other.Close() })
	conn := &Conn[Caller]{Conn: nc, Peer: c, share: c.Share(), table: table}
	return conn, table.add(conn)
}

// TestFullTable shows which connection is closed: the one without a request for longest, of the uid
// that is over its share, and never a busy one.
func TestFullTable(t *testing.T) {
	table := callers(6, 2)
	ask := func(uid uint32) bool {
		_, ok := open(t, table, Caller{UID: uid})
		return ok
	}
	var all []*Conn[Caller]
	for _, uid := range []uint32{2, 1, 1, 2} {
		c, ok := open(t, table, Caller{UID: uid})
		if !ok {
			t.Fatal("refused with room to spare")
		}
		all = append(all, c)
	}
	bob1, alice1, alice2, bob2 := all[0], all[1], all[2], all[3]
	alice1.SetBusy(true)
	if !ask(1) || alice2.SetBusy(true) {
		t.Error("a third of one uid: want its idle one closed")
	}
	bob1.SetBusy(true)
	bob1.SetBusy(false) // idle for less long than bob2
	if !ask(3) {
		t.Error("refused with idle ones to close")
	}
	for _, c := range []*Conn[Caller]{alice1, bob1} {
		if !c.SetBusy(true) {
			t.Errorf("one of %s was closed", c.share.Key)
		}
	}
	if bob2.SetBusy(true) {
		t.Error("the one that was idle for longest is open")
	}
	for c := range table.conns {
		c.SetBusy(true)
	}
	if ask(4) {
		t.Error("accepted with all at work")
	}
	alice1.Close()
	if !ask(4) {
		t.Error("refused after one has left")
	}
}

// TestCrowdingProcess: a process that opens connections as fast as it can
// closes its own, not that of another process of the same user.
func TestCrowdingProcess(t *testing.T) {
	table := callers(13, 3)
	quiet, _ := open(t, table, Caller{UID: 1, PID: 7})
	for range 10 {
		if _, ok := open(t, table, Caller{UID: 1, PID: 8}); !ok {
			t.Fatal("process 8 was refused")
		}
	}
	if !quiet.SetBusy(true) {
		t.Error("the connection of the quiet process was closed")
	}
}

// Busy connections of other users leave root as many as one uid may have.
func TestRootHasConnectionsLeft(t *testing.T) {
	table := callers(8, 2)
	idle, _ := open(t, table, Caller{UID: 0})
	add := func(uid uint32) bool {
		c, ok := open(t, table, Caller{UID: uid})
		return ok && c.SetBusy(true)
	}
	for n := range 6 {
		if !add(uint32(1 + n/2)) {
			t.Fatalf("connection %d was refused", n)
		}
	}
	if add(4) {
		t.Error("a seventh connection of users other than root was admitted")
	}
	if !idle.SetBusy(true) {
		t.Error("an idle connection of root was closed for others")
	}
	if !add(0) {
		t.Error("root was refused")
	}
	if add(0) {
		t.Error("root has no bound of its own")
	}
}

// The table holds a connection from its acceptance to its end, and CloseIdle spares the
// busy ones.
func TestTableFollowsConnections(t *testing.T) {
	table := callers(10, 5)
	var all []*Conn[Caller]
	for range 4 {
		c, _ := open(t, table, Caller{UID: 1})
		all = append(all, c)
	}
	all[0].SetBusy(true)
	all[1].SetBusy(true)
	table.State(all[1], http.StateActive) // only the end of an answer ends the work
	all[2].SetBusy(true)
	table.State(all[2], http.StateIdle)
	table.CloseIdle()
	for n, open := range []bool{true, true, false, false} {
		if all[n].SetBusy(true) != open {
			t.Errorf("connection %d: want open=%t", n, open)
		}
	}
	all[0].Close()
	all[0].Close() // net/http may close a connection twice
	all[1].Close()
	if len(table.conns)+len(table.byKey)+table.root > 0 {
		t.Errorf("left over: %v, %v, %d", table.conns, table.byKey, table.root)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if got := table.Of(r.WithContext(table.Context(r.Context(), all[3]))); got != all[3] {
		t.Errorf("the connection of a request is %v", got)
	}
}

// TestRefusalsAreLoggedSeldom: connections that are refused do not fill the log.
func TestRefusalsAreLoggedSeldom(t *testing.T) {
	var log bytes.Buffer
	l := &listener[Caller]{table: New(Options[Caller]{
		Name: "x", Max: 1, Log: slog.New(slog.NewTextHandler(&log, nil)), Share: Caller.Share,
		Peer: func(net.Conn) (Caller, error) { return Caller{}, errors.New("gone") },
	})}
	one, other := net.Pipe()
	defer other.Close()
	l.Listener = &alwaysAccept{one, 100}
	l.Accept()
	l.table.opts.Peer = func(net.Conn) (Caller, error) { return Caller{}, nil }
	l.Listener = &alwaysAccept{one, 100}
	l.Accept()
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines, want one of each kind:\n%s", n, log.String())
	}
}

// alwaysAccept accepts the same connection a number of times, and then fails.
type alwaysAccept struct {
	net.Conn
	left int
}

func (a *alwaysAccept) Accept() (net.Conn, error) {
	if a.left--; a.left < 0 {
		return nil, net.ErrClosed
	}
	return a.Conn, nil
}

func (a *alwaysAccept) Addr() net.Addr { return nil }

// More connections of one key than PerSecond are too many, until the second is over. Another
// key has its own.
func TestTooManyInASecond(t *testing.T) {
	l := &listener[Caller]{table: New(Options[Caller]{PerSecond: 2})}
	now := time.Now()
	for _, tt := range []struct {
		key     string
		after   time.Duration
		tooMany bool
	}{
		{"a", 0, false}, {"a", 0, false}, {"a", 999 * time.Millisecond, true}, {"b", 999 * time.Millisecond, false},
		{"a", time.Second, false}, {"a", time.Second, false}, {"a", time.Second, true},
	} {
		if got := l.tooMany(tt.key, now.Add(tt.after)); got != tt.tooMany {
			t.Errorf("%s after %s: %t", tt.key, tt.after, got)
		}
	}
	free := &listener[Caller]{table: New(Options[Caller]{})}
	for range 100 {
		if free.tooMany("a", now) {
			t.Fatal("too many without a bound")
		}
	}
}
