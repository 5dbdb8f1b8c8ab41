package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
)

// markedListener notes that it has accepted a connection.
type markedListener struct {
	net.Listener
	used chan struct{}
}

func (l markedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		select {
		case l.used <- struct{}{}:
		default:
		}
	}
	return c, err
}

// Root's commands use the socket for root, unless the user names a socket.
func TestSocketOfRoot(t *testing.T) {
	usual := filepath.Join(t.TempDir(), "s.sock")
	for _, tt := range []struct {
		name, env string
		root      bool
		args      []string
		want      string
	}{
		{"root", "", true, []string{"status"}, control.RootSocket(usual)},
		{"a member", "", false, []string{"status"}, usual},
		{"root, with --socket", "", true, []string{"status", "--socket", usual}, usual},
		{"root, with $PARAXIAL_SOCKET", usual, true, []string{"status"}, usual},
	} {
		t.Run(tt.name, func(t *testing.T) {
			used := make(map[string]chan struct{})
			var all []net.Listener
			for _, path := range []string{usual, control.RootSocket(usual)} {
				l, err := control.Listen(path, "")
				if err != nil {
					t.Fatal(err)
				}
				used[path] = make(chan struct{}, 1)
				all = append(all, markedListener{l, used[path]})
			}
			ctx, stop := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() {
				o := control.Options{Log: slog.New(slog.DiscardHandler)}
				served <- control.NewServer(&fake{}, o).Serve(ctx, all...)
			}()
			var stdout, stderr bytes.Buffer
			code := run(ctx, tt.args, environment{
				stdout: &stdout, stderr: &stderr, now: time.Now, socket: usual, root: tt.root,
				getenv: func(string) string { return tt.env },
			})
			stop()
			if err := <-served; err != nil || code != exitDone {
				t.Fatalf("exit code %d, %v: %s", code, err, &stderr)
			}
			for path, c := range used {
				if (len(c) > 0) != (path == tt.want) {
					t.Errorf("%s was used: %t", filepath.Base(path), len(c) > 0)
				}
			}
		})
	}
}
