package control

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/testenv"
)

func TestListenMode(t *testing.T) {
	testenv.Root(t)
	// The test must pass with a permissive umask.
	old := unix.Umask(0)
	defer unix.Umask(old)
	for _, tt := range []struct {
		group string
		mode  fs.FileMode
		gid   uint32
	}{
		{"daemon", 0o660, 1},
		{"4711", 0o660, 4711},
		{"no-such-group", 0o600, 0},
	} {
		path := filepath.Join(t.TempDir(), "run", "s")
		l, err := Listen(path, tt.group)
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		if got := fs.FileMode(st.Mode & 0o777); got != tt.mode || st.Gid != tt.gid || st.Uid != 0 {
			t.Errorf("group %s: mode %o gid %d uid %d", tt.group, got, st.Gid, st.Uid)
		}
		l.Close()
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("group %s: the socket outlives its listener: %v", tt.group, err)
		}
	}
}

func TestListenReplaces(t *testing.T) {
	stale := func(t *testing.T, path string) {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
	}
	live := func(t *testing.T, path string) {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
	}
	file := func(t *testing.T, path string) {
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(t *testing.T, path string) {
		stale(t, path+".target")
		if err := os.Symlink(path+".target", path); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		make func(*testing.T, string)
		says string // empty: replaced
	}{
		{"stale socket", stale, ""},
		{"live socket", live, "another daemon answers"},
		{"file", file, "not a socket"},
		{"symbolic link", link, "not a socket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			tt.make(t, path)
			l, err := Listen(path, "")
			if err == nil {
				l.Close()
			}
			if (tt.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
			if _, statErr := os.Lstat(path); err != nil && statErr != nil {
				t.Errorf("the previous file is gone: %v", statErr)
			}
		})
	}
}

func TestListenLongPath(t *testing.T) {
	_, err := Listen("/tmp/"+strings.Repeat("x", 120), "")
	if err == nil || !strings.Contains(err.Error(), "at most 107") {
		t.Errorf("got %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(dir, "gone")
	l, err := net.Listen("unix", gone)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	for _, tt := range []struct{ name, path, says string }{
		{"missing", filepath.Join(dir, "none"), "there is no socket"},
		{"below a file", filepath.Join(file, "s"), "there is no socket"},
		{"nobody listens", gone, "nobody answers"},
		{"no socket", file, "is not a socket"},
		{"too long", "/tmp/" + strings.Repeat("x", 120), "longer than 107 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewClient(tt.path).Status(t.Context())
			if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A daemon that hangs does not hang its clients: neither before its answer nor within it.
func TestSilentDaemon(t *testing.T) {
	for name, answer := range map[string]string{
		"no answer": "", "half an answer": "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				c, err := l.Accept()
				if err == nil {
					defer c.Close()
					c.Read(make([]byte, 1))   // an answer before the request would be another error
					io.WriteString(c, answer) // fails only if the client has gone
					io.Copy(io.Discard, c)    // until the client gives up
				}
			}()
			c := NewClient(path)
			c.patience = 100 * time.Millisecond
			_, err = c.Status(t.Context())
			if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "has not answered for 100ms") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRootSocketPath(t *testing.T) {
	for path, want := range map[string]string{
		DefaultSocket: "/run/paraxial/paraxiald-root.sock", "/a.b/s": "/a.b/s-root", "s.x.sock": "s.x-root.sock",
	} {
		if got := RootSocket(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// A client of root uses the socket for root alone, and the usual one without it or with one that a
// daemon has left behind.
func TestRootClient(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(t *testing.T, path string) net.Listener // nil: no listener
		want int                                          // requests on the socket for root
	}{
		{"in force", func(t *testing.T, path string) net.Listener {
			l, err := Listen(path, "")
			check(t, err)
			return l
		}, 1},
		{"absent", func(*testing.T, string) net.Listener { return nil }, 0},
		{"left behind", func(t *testing.T, path string) net.Listener {
			l, err := net.Listen("unix", path)
			check(t, err)
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			check(t, l.Close())
			return nil
		}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.sock")
			usual, err := Listen(path, "")
			check(t, err)
			all := []net.Listener{&countingListener{Listener: usual}}
			if l := tt.make(t, RootSocket(path)); l != nil {
				all = append(all, &countingListener{Listener: l})
			}
			run(t, NewServer(&fake{}, Options{Log: slog.New(slog.DiscardHandler)}), all...)
			if _, err := NewRootClient(path).Status(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := int(all[0].(*countingListener).accepted.Load()); got != 1-tt.want {
				t.Errorf("%d connections on the usual socket, want %d", got, 1-tt.want)
			}
		})
	}
}

type countingListener struct {
	net.Listener
	accepted atomic.Int32
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}
