package blocklist

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/report"
	"github.com/paraxial/paraxial/tests/testenv"
)

// soon is longer than anything here takes on a busy machine.
const soon = time.Minute

// sink is what the messages get to.
type sink struct {
	ports  []uint16
	proof  bool
	events chan report.Event
	codes  chan string // of refused events
	asked  atomic.Int64
}

func (s *sink) Reporter(uid uint32) (report.Rights, bool) {
	s.asked.Add(1)
	r := report.Rights{Name: "sshd"}
	if s.proof {
		r.Proof = &report.Proof{Rule: "ssh", Ports: s.ports}
	}
	return r, uid == uint32(os.Getuid())
}

func (s *sink) CountProven(_ context.Context, _ report.Rights, e report.Event) error {
	s.events <- e
	return nil
}

func (s *sink) Note(reporter, rule, code string) { s.codes <- reporter + " " + rule + " " + code }

// message returns a message as libblocklist builds it, with the address 203.0.113.5 inside.
func message(kind uint32, text string) []byte {
	data := make([]byte, leastLength)
	for n, v := range []uint32{uint32(leastLength + len(text)), version, kind, 16} {
		binary.NativeEndian.PutUint32(data[4*n:], v)
	}
	copy(data[headLength:], []byte{unix.AF_INET, 0, 0x12, 0x67, 203, 0, 113, 5})
	return append(data, text...)
}

// changed returns a message with another number at a place.
func changed(data []byte, place int, v uint32) []byte {
	binary.NativeEndian.PutUint32(data[4*place:], v)
	return data
}

// bench is a receiver with a client.
type bench struct {
	*testing.T
	*sink
	client int
	tcp    net.Listener
}

func newBench(t *testing.T, proof bool) *bench {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	c, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "[::]:0") // also of IPv4
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	s := &sink{
		ports: []uint16{1, uint16(tcp.Addr().(*net.TCPAddr).Port)}, proof: proof,
		events: make(chan report.Event, 10), codes: make(chan string, 10),
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- (&Receiver{Sink: s, Log: slog.New(slog.DiscardHandler)}).Serve(ctx, c) }()
	client, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(client, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(client)
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return &bench{t, s, client, tcp}
}

// file returns the descriptor of a connection or listener.
func (b *bench) file(c any, err error) *os.File {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	f, err := c.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		b.Fatal(err)
	}
	c.(interface{ Close() error }).Close()
	b.Cleanup(func() { f.Close() })
	return f
}

// accepted returns our end of a new connection to the server, and the other end.
func (b *bench) accepted(host string) (ours *os.File, theirs net.Conn) {
	b.Helper()
	_, port, _ := net.SplitHostPort(b.tcp.Addr().String())
	theirs, err := net.Dial("tcp", net.JoinHostPort(host, port))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { theirs.Close() })
	return b.file(b.tcp.Accept()), theirs
}

func (b *bench) send(data []byte, files ...*os.File) {
	b.Helper()
	fds := make([]int, 0, len(files))
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(b.client, data, rights, nil, 0); err != nil {
		b.Fatal(err)
	}
}

// outcome waits for the event of a message, or for the code of its refusal.
func (b *bench) outcome() string {
	b.Helper()
	select {
	case e := <-b.events:
		return fmt.Sprintf("%s %s %d %t %q", e.Address, e.Rule, e.Points, e.Success, e.Text)
	case code := <-b.codes:
		return code
	case <-time.After(soon):
		b.Fatal("waited in vain for the outcome of a message")
		return ""
	}
}

func TestMessages(t *testing.T) {
	b := newBench(t, true)
	v4, _ := b.accepted("127.0.0.1")
	v6, _ := b.accepted("::1")
	const invalid = "sshd ssh invalid_request"
	for _, tt := range []struct {
		name string
		data []byte
		file *os.File
		want string
	}{
		{"AUTH_OK", message(0, "ok"), v4, `127.0.0.1 ssh 0 true "ok"`},
		{"AUTH_FAIL", message(1, "ssh auth fail"), v4, `127.0.0.1 ssh 2 false "ssh auth fail"`},
		{"ABUSIVE", message(2, "abusive"), v6, `::1 ssh 1000 false "abusive"`},
		{"BAD_USER", message(3, "x\n2026-01-01 forged\x00y"), v6, `::1 ssh 1 false "x\n2026-01-01 forged"`},
		{"no text", message(1, ""), v4, `127.0.0.1 ssh 2 false ""`},
		{"longest text", message(1, strings.Repeat("x", 128)), v4,
			`127.0.0.1 ssh 2 false "` + strings.Repeat("x", 128) + `"`},
		{"longer text", message(1, strings.Repeat("x", 129)), v4, invalid},
		{"much longer text", message(1, strings.Repeat("x", 5000)), v4, invalid},
		{"unknown type", message(4, ""), v4, invalid},
		{"other version", changed(message(1, "x"), 1, 2), v4, invalid},
		{"other length", changed(message(1, "x"), 0, 9999), v4, invalid},
		{"short", []byte{1, 0}, v4, invalid},
		{"empty", nil, v4, invalid},
		{"one byte short", message(1, "")[:leastLength-1], v4, invalid},
	} {
		b.send(tt.data, tt.file)
		if got := b.outcome(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// The library's own bytes, as a real bl_send() sent them on Linux on amd64.
func TestBytesOfTheLibrary(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		testenv.Missing(t, "needs a little-endian machine, as the bytes are of one")
	}
	head := []byte{0x98, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, 2, 0, 0x12, 0x67, 0xcb, 0, 0x71, 5}
	data := append(append(head, make([]byte, leastLength-len(head))...), "bad user"...)
	e, err := decode(data)
	if err != nil || e.Points != 1 || e.Text != "bad user" || e.Address.IsValid() {
		t.Errorf("%+v, %v", e, err)
	}
}

// Only one connection that the kernel has made, at one of the ports, is a proof.
func TestProof(t *testing.T) {
	b := newBench(t, true)
	ours, _ := b.accepted("127.0.0.1")
	hungUp, other := b.accepted("127.0.0.1")
	other.Close()
	_, outgoing := b.accepted("127.0.0.1")
	reset, other := b.accepted("127.0.0.1")
	other.(*net.TCPConn).SetLinger(0)
	other.Close()
	for _, f := range []*os.File{hungUp, reset} { // until the end or reset has arrived
		poll := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
		unix.Poll(poll, int(soon.Milliseconds()))
	}
	tcp := func(domain int) *os.File {
		fd, err := unix.Socket(domain, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), "socket")
		t.Cleanup(func() { f.Close() })
		return f
	}
	udp := b.file(net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(b.ports[1])},
		&net.UDPAddr{IP: net.IPv4(127, 0, 0, 9), Port: 9}))
	plain, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	stream, end := os.NewFile(uintptr(pair[0]), "a"), os.NewFile(uintptr(pair[1]), "b")
	defer stream.Close()
	defer end.Close()
	many := make([]*os.File, maxDescriptors)
	for n := range many {
		many[n] = ours
	}
	const counted = `127.0.0.1 ssh 2 false "x"`
	const unproven = "sshd ssh unproven"
	for _, tt := range []struct {
		name  string
		files []*os.File
		want  string
	}{
		{"a connection to ours", []*os.File{ours}, counted},
		{"the other end has hung up", []*os.File{hungUp}, counted},
		{"no descriptor", nil, unproven},
		{"two descriptors", []*os.File{ours, ours}, unproven},
		{"253 descriptors", many, unproven},
		{"an outgoing connection", []*os.File{b.file(outgoing, nil)}, unproven},
		{"the connection was reset", []*os.File{reset}, unproven},
		{"a connected UDP socket", []*os.File{udp}, unproven},
		{"a socket without connection", []*os.File{tcp(unix.AF_INET)}, unproven},
		{"a listening socket", []*os.File{b.file(net.Listen("tcp", "127.0.0.1:0"))}, unproven},
		{"a Unix socket", []*os.File{stream}, unproven},
		{"a file", []*os.File{plain}, unproven},
	} {
		b.send(message(1, "x"), tt.files...)
		if got := b.outcome(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// A connection that is not established yet proves nothing: its other end may never answer.
func TestNotYetConnected(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	// Nobody answers: the queue of the listener is full.
	full, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(full)
	local := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := unix.Bind(full, local); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(full, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(full)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 { // more than the queue takes
		c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(c)
		unix.Connect(c, name)
	}
	if err := unix.Connect(fd, name); err != unix.EINPROGRESS {
		t.Fatalf("connect: %v, want one in progress", err)
	}
	own, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := peerOf(fd, []uint16{addrPort(own).Port()})
	if err == nil || !strings.Contains(err.Error(), "not established") {
		t.Errorf("peer %v, %v", peer, err)
	}
}

// Nothing counts from a user who is no such reporter, and no descriptor stays open on any path.
func TestDescriptorsAreClosed(t *testing.T) {
	open := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	for _, proof := range []bool{true, false} {
		b := newBench(t, proof)
		ours, _ := b.accepted("127.0.0.1")
		many := make([]*os.File, maxDescriptors)
		for n := range many {
			many[n] = ours
		}
		sent := int64(0)
		send := func(data []byte, files ...*os.File) {
			sent++
			b.send(data, files...)
			if proof {
				b.outcome()
			}
		}
		rounds := func(n int) {
			for range n {
				for _, data := range [][]byte{message(1, "x"), {1, 0}, message(9, "x"), make([]byte, 3000)} {
					for _, files := range [][]*os.File{nil, {ours}, {ours, ours}, many} {
						send(data, files...)
					}
				}
			}
			// When it takes the last message, the receiver has closed what came with those before.
			send(message(1, "end"), ours)
			for end := time.Now().Add(soon); b.asked.Load() < sent; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d of %d messages were taken", b.asked.Load(), sent)
				}
			}
		}
		rounds(1)
		before := open()
		rounds(20)
		if after := open(); after > before+1 { // that of the last message
			t.Errorf("with a proof %t: %d descriptors are open, %d before", proof, after, before)
		}
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	c, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("twice: %v", err)
	}
	c.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd) // the file stays, as after a kill
	c, err = Listen(path)
	if err != nil {
		t.Fatalf("a socket of a program that is gone: %v", err)
	}
	c.Close()
}
