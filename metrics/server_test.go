package metrics

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A peer over its bound loses its own oldest connection. In all, the peer with most loses one.
func TestConnTable(t *testing.T) {
	closed := map[string]bool{}
	incoming := make(queue, 1)
	listener := connTable(Options{
		MaxConns: 5, MaxConnsPerPeer: 3, Peer: func(c net.Conn) string { return c.(closer).name[:1] },
	}).Listen(incoming)
	open := func(name string) net.Conn {
		t.Helper()
		incoming <- closer{name: name, closed: closed}
		c, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	expect := func(when string, names ...string) {
		t.Helper()
		for _, n := range names {
			if !closed[n] {
				t.Errorf("%s: %s is open", when, n)
			}
		}
		if len(closed) != len(names) {
			t.Errorf("%s: closed are %v, want %v", when, closed, names)
		}
	}
	open("b1")
	open("a1")
	a2 := open("a2")
	open("a3")
	expect("within the bounds")
	open("a4")
	expect("a has too many", "a1")
	open("c1")
	expect("the table is full", "a1")
	open("d1")
	expect("in all too many", "a1", "a2")
	a2.Close() // as the server does with a connection that was closed under it
	d2 := open("d2")
	expect("in all too many again", "a1", "a2", "a3")
	d2.Close()
	open("e1")
	expect("one has left", "a1", "a2", "a3", "d2")
}

// queue is a listener of connections that a test puts in.
type queue chan net.Conn

func (q queue) Accept() (net.Conn, error) { return <-q, nil }
func (q queue) Close() error              { return nil }
func (q queue) Addr() net.Addr            { return nil }

// closer notes that it was closed.
type closer struct {
	net.Conn
	name   string
	closed map[string]bool
}

func (c closer) Close() error {
	c.closed[c.name] = true
	return nil
}

func TestCheckHost(t *testing.T) {
	h := checkHost(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		func() []string { return []string{"web1", "Web1.Example.com", ""} })
	for header, want := range map[string]int{
		"": 200, "127.0.0.1": 200, "127.0.0.1:9798": 200, "[::1]": 200, "[::1]:9798": 200, "[fe80::1%eth0]:9798": 200,
		"localhost:9798": 200, "WEB1": 200, "web1.example.com.:9798": 200, "web2": 403, "web1.example.com.evil": 403,
		"evil.example:9798": 403, "localhost.evil": 403, ":9798": 200, "1.2.3.4.evil": 403, "[::1": 200,
	} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Host = header
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != want {
			t.Errorf("Host: %s: %d, want %d", header, w.Code, want)
		}
	}
}
