package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/testenv"
)

const (
	childSocket = "PARAXIAL_TEST_SOCKET"
	childLarge  = "PARAXIAL_TEST_LARGE" // if set, the request is a large one
	nobody      = 65534
)

// TestMain lets the test binary run again as another user, as a client.
func TestMain(m *testing.M) {
	if socket := os.Getenv(childSocket); socket != "" {
		os.Exit(child(socket))
	}
	os.Exit(m.Run())
}

func child(socket string) int {
	c := NewClient(socket)
	r := BlockRequest{Prefixes: []string{"192.0.2.1"}}
	if os.Getenv(childLarge) != "" {
		r = largeRequest()
	}
	_, err := c.Block(context.Background(), r)
	fmt.Println("block:", err)
	fmt.Println("detach:", c.Detach(context.Background()))
	fmt.Println("permission:", errors.Is(err, ErrPermission))
	return 0
}

// largeRequest has a body of more than smallBody.
func largeRequest() (r BlockRequest) {
	for range smallBody / len("192.0.2.1") {
		r.Prefixes = append(r.Prefixes, "192.0.2.1")
	}
	return r
}

func runAsNobody(t *testing.T, socket string, groups ...uint32) string {
	t.Helper()
	exe, err := os.Open("/proc/self/exe") // the build directory may be closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	cmd := exec.Command("/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{exe}
	cmd.Dir = "/"
	cmd.Env = []string{childSocket + "=" + socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: groups}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// openDir returns a directory that other users can enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAnotherUser(t *testing.T) {
	testenv.Root(t)
	socket := filepath.Join(openDir(t), "s")
	l, err := Listen(socket, "daemon")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	serveOn(t, l, f, Options{})

	t.Run("in the group", func(t *testing.T) {
		out := runAsNobody(t, socket, 1)
		want := []any{recorded{"uid:65534", Block{
			Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, Action: policy.Drop,
			For: policy.TTLForever, Origin: "api:65534",
		}}}
		if diff := cmp.Diff(want, f.taken(), prefixes); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if !strings.Contains(out, "block: <nil>\ndetach: detach: only root may") {
			t.Errorf("got %s", out)
		}
	})
	t.Run("outside", func(t *testing.T) {
		out := runAsNobody(t, socket)
		if !strings.Contains(out, "permission: true") ||
			!strings.Contains(out, "run this as root, or join the group daemon that owns the socket "+
				"(`usermod -aG daemon USER`") {
			t.Errorf("got %s", out)
		}
		if calls := f.taken(); len(calls) != 0 {
			t.Errorf("reached the backend: %v", calls)
		}
	})
}

// TestFlood opens 10,000 connections and never sends anything on them. The server must keep no more
// than its limit, and a client of the same uid must get through all the time.
func TestFlood(t *testing.T) {
	const flood = 10_000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < flood+1000 {
		testenv.Missing(t, fmt.Sprintf("needs %d open files, the limit is %d: ulimit -n", flood+1000, limit.Cur))
	}
	opts := Options{MaxConns: 50, MaxConnsPerUID: 20}
	socket := serve(t, &fake{}, opts)
	c := NewClient(socket)
	before := openFiles(t)
	conns := make([]net.Conn, 0, flood)
	defer func() {
		for _, nc := range conns {
			nc.Close()
		}
	}()
	for len(conns) < flood {
		nc, err := dial(t.Context(), socket)
		if err != nil {
			t.Fatalf("connection %d: %v", len(conns), err)
		}
		conns = append(conns, nc)
		if len(conns)%1000 > 0 {
			continue
		}
		begun := time.Now()
		call, cancel := context.WithTimeout(t.Context(), soon)
		_, err = c.Status(call)
		cancel()
		if err != nil {
			t.Fatalf("with %d connections: %v", len(conns), err)
		}
		// A closed connection is counted until the goroutine that reads it has run.
		held := func() int { return openFiles(t) - before - len(conns) }
		for held() > opts.MaxConnsPerUID+2 && time.Since(begun) < soon {
			time.Sleep(time.Millisecond)
		}
		if n := held(); n > opts.MaxConnsPerUID+2 {
			t.Errorf("with %d connections the server holds %d", len(conns), n)
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}
