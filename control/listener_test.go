package control

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRestore(t *testing.T) {
	for _, tt := range []struct {
		name string
		harm func(t *testing.T, path string)
		says string // empty: restored
	}{
		{"removed", func(t *testing.T, path string) { check(t, os.Remove(path)) }, ""},
		{"removed with its directory", func(t *testing.T, path string) {
			check(t, os.RemoveAll(filepath.Dir(path)))
		}, ""},
		{"the socket of one that is gone", func(t *testing.T, path string) {
			check(t, os.Remove(path))
			l, err := net.Listen("unix", path)
			check(t, err)
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			check(t, l.Close())
		}, ""},
		{"another daemon there", func(t *testing.T, path string) {
			check(t, os.Remove(path))
			l, err := net.Listen("unix", path)
			check(t, err)
			t.Cleanup(func() { l.Close() })
		}, "another daemon answers"},
		{"a file there", func(t *testing.T, path string) {
			check(t, os.Remove(path))
			check(t, os.WriteFile(path, []byte("precious"), 0o600))
		}, "not a socket"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "run", "s")
			l, err := Listen(path, "")
			check(t, err)
			echo(t, l)
			before := dialEcho(t, path)
			expectEcho(t, before) // accepted by now: connections in the queue are lost with the listener
			if restored, err := l.Restore(); restored || err != nil {
				t.Fatalf("with nothing amiss: %t, %v", restored, err)
			}
			tt.harm(t, path)
			restored, err := l.Restore()
			if tt.says == "" {
				check(t, err)
				expectEcho(t, dialEcho(t, path))
			} else if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one with %q", err, tt.says)
			}
			if restored != (tt.says == "") {
				t.Errorf("restored: %t", restored)
			}
			expectEcho(t, before)
			check(t, l.Close())
			if _, err := os.Lstat(path); (err == nil) != (tt.says != "") {
				t.Errorf("after Close there is, or is not, a file: %v", err)
			}
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// echo sends back the first byte that it receives, on every connection.
func echo(t *testing.T, l net.Listener) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for b := make([]byte, 1); ; {
					if _, err := c.Read(b); err != nil {
						return
					}
					c.Write(b)
				}
			}()
		}
	}()
}

func dialEcho(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	check(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func expectEcho(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Error("nobody answers:", err)
	}
}
